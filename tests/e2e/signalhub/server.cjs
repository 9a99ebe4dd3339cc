// The server of signalhub on a free port of 127.0.0.1, which it prints.
const server = require('signalhub/server')()
server.listen(0, '127.0.0.1', 4096, () => console.log(server.address().port))
