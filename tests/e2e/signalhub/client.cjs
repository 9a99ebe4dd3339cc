// The client of signalhub, driven line by line: node client.cjs URL CHANNEL...
// In: {"channel": ..., "message": ...} to broadcast. Out: one JSON object for each thing that happens.
const readline = require('readline')
const signalhub = require('signalhub')

const [url, ...channels] = process.argv.slice(2)
const hub = signalhub('tests', url)
const tell = (event, more) => console.log(JSON.stringify({ event, ...more }))

const stream = hub.subscribe(channels.length > 1 ? channels : channels[0])
stream.on('open', () => tell('open'))
stream.on('reconnect', () => tell('reconnect'))
stream.on('data', (message) => tell('message', { message }))

readline
  .createInterface({ input: process.stdin })
  .on('line', (line) => {
    const { channel, message } = JSON.parse(line)
    hub.broadcast(channel, message, (error) => tell('sent', { error: error ? String(error) : null }))
  })
  .on('close', () => hub.close(() => process.exit(0)))
