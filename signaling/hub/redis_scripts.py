"""What runs inside Redis, each as one step that nothing comes between: short, bounded, and blind to payloads.

Every key ends by itself. Bytes are counted beside what they count, and set right when that is found gone:
what was dropped early costs memory for a while, and never a wrong answer.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Final

PREFIX: Final = "pigeon:1:"
"""Of all keys. The number changes with what they mean: hubs of two versions do not disturb one another."""


@dataclass(frozen=True, slots=True)
class Script:
    text: bytes
    sha: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text).hexdigest().encode())


_NOW = b"""
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
"""

SAY = Script(b"""
local events, kept, heard, ends, sizes, totals = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local channel, payload = ARGV[1], ARGV[2]
local most_events, most_bytes, keep_ms = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local bytes_in_all, channels_in_all, kept_prefix = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local stream_events, stream_bytes, ttl = tonumber(ARGV[9]), tonumber(ARGV[10]), ARGV[11]

-- What every hub reads as it comes.
local id = redis.call('XADD', events, '*', 'c', channel, 'p', payload)
local size = #channel + #payload + 64
local length = redis.call('XLEN', events)
if length == 1 then
    redis.call('HSET', totals, 'events', 0)
end
local streamed = redis.call('HINCRBY', totals, 'events', size)
while length > 1 and (length > stream_events or streamed > stream_bytes) do
    local first = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)[1]
    redis.call('XDEL', events, first[1])
    redis.call('HSET', totals, 'gone', first[1])
    streamed = redis.call('HINCRBY', totals, 'events', 0 - (#first[2][2] + #first[2][4] + 64))
    length = length - 1
end

-- What is kept of this channel for those who resume.
if redis.call('ZCARD', heard) == 0 then
    redis.call('DEL', sizes, ends)
    redis.call('HSET', totals, 'kept', 0)
end
local entry = id .. ' ' .. payload
local count = redis.call('RPUSH', kept, entry)
if count == 1 then -- the former ones ended by themselves
    redis.call('HINCRBY', totals, 'kept', 0 - (redis.call('HGET', sizes, channel) or 0))
    redis.call('HDEL', sizes, channel)
end
local mine = redis.call('HINCRBY', sizes, channel, #entry)
local all = redis.call('HINCRBY', totals, 'kept', #entry)
while count > 0 and (count > most_events or mine > most_bytes) do
    local gone = #redis.call('LPOP', kept)
    mine = redis.call('HINCRBY', sizes, channel, 0 - gone)
    all = redis.call('HINCRBY', totals, 'kept', 0 - gone)
    count = count - 1
end
redis.call('PEXPIRE', kept, keep_ms)
redis.call('ZADD', heard, string.match(id, '^%d+'), channel)
redis.call('HSET', ends, channel, id)
while all > bytes_in_all or redis.call('ZCARD', heard) > channels_in_all do
    local oldest = redis.call('ZPOPMIN', heard)[1]
    if not oldest then
        break
    end
    all = redis.call('HINCRBY', totals, 'kept', 0 - (redis.call('HGET', sizes, oldest) or 0))
    redis.call('HDEL', sizes, oldest)
    redis.call('HDEL', ends, oldest)
    redis.call('DEL', kept_prefix .. oldest)
end
for _, key in ipairs({events, heard, ends, sizes, totals}) do
    redis.call('PEXPIRE', key, ttl)
end
return id
""")
"""Broadcast and keep. The id is the stream's: milliseconds, a dash, a number."""

SINCE = Script(b"""
local events, ends, sizes = KEYS[1], KEYS[2], KEYS[3]
local left, prefix = tonumber(ARGV[2]), ARGV[3]
local function place(id)
    local time, number = string.match(id, '^(%d+)-(%d+)')
    return tonumber(time), tonumber(number)
end
local function after(id, time, number)
    local mine, count = place(id)
    return mine > time or (mine == time and count > number)
end

local found
local newest = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
if newest then
    found = {1, newest[1]}
else
    local clock = redis.call('TIME')
    found = {0, string.format('%.0f-0', clock[1] * 1000 + math.floor(clock[2] / 1000) - 1)}
end
local time, number = place(ARGV[1])
if not after(found[2], time, number) and found[2] ~= ARGV[1] then -- a clock was ahead of this one
    time, number = 0, 0
end
local newer = {} -- those of the channels that have something to tell
for at = 4, #ARGV do
    local last = redis.call('HGET', ends, ARGV[at])
    if last and after(last, time, number) then
        newer[#newer + 1] = at
    end
    found[at - 1] = {}
end
for done, at in ipairs(newer) do
    local share = left / (#newer - done + 1)
    local channel, missed, used, back = ARGV[at], found[at - 1], 0, -1
    if tonumber(redis.call('HGET', sizes, channel) or 0) <= share then
        for _, entry in ipairs(redis.call('LRANGE', prefix .. channel, 0, -1)) do
            if after(entry, time, number) then
                missed[#missed + 1] = entry
                used = used + #entry
            end
        end
    elseif left > 0 then
        local entry = redis.call('LINDEX', prefix .. channel, back)
        while entry and after(entry, time, number) and (back == -1 or used + #entry <= share) do
            missed[#missed + 1] = entry
            used, back = used + #entry, back - 1
            entry = redis.call('LINDEX', prefix .. channel, back)
        end
    end
    left = left - used
end
return found
""")
"""1 if there are events, an id between the last and the next; then, in no order, what came after an id on
each channel: the newest, as far as it fits into so many bytes in all.
"""

TAKE = Script(
    _NOW
    + b"""
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local full_at = tonumber(redis.call('GET', KEYS[1]) or now)
full_at = math.max(now, math.min(full_at, now + burst / rate)) -- whatever becomes of this clock
local wait = full_at + (1 - burst) / rate - now
if wait > 0 then
    return string.format('%.6f', math.max(wait, 0.000001))
end
full_at = full_at + 1 / rate
local ttl = math.min(math.ceil((full_at - now) * 1000), 1e9) + 1
redis.call('SET', KEYS[1], string.format('%.6f', full_at), 'PX', ttl)
return '0'
"""
)
"""A token bucket, of which only the time is kept at which it is full again."""

LOAD = Script(
    _NOW
    + b"""
return {redis.call('GET', KEYS[1]) or '', string.format('%.6f', now)}
"""
)

_DROP = b"""
local function drop(queues, sizes, queue)
    local total = redis.call('HINCRBY', sizes, 'total', 0 - (redis.call('HGET', sizes, queue) or 0))
    redis.call('HDEL', sizes, queue)
    redis.call('ZREM', queues, queue)
    return total
end
local function drop_over(queues, sizes, prefix)
    for _, over in ipairs(redis.call('ZRANGEBYSCORE', queues, '-inf', now, 'LIMIT', 0, 1000)) do
        drop(queues, sizes, over)
        redis.call('DEL', prefix .. over)
    end
end
"""

SWAP = Script(
    _NOW
    + _DROP
    + b"""
local data, queues, sizes = KEYS[1], KEYS[2], KEYS[3]
local queue, old, new, ends, prefix = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local most_queues, most_bytes, longest = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
if (redis.call('GET', data) or '') ~= old then
    return 0
end
if #new > #old then
    for again = 1, 2 do
        local total = tonumber(redis.call('HGET', sizes, 'total') or 0)
        if total + #new - #old <= most_bytes and redis.call('ZCARD', queues) < most_queues then
            break
        elseif again == 2 then
            return -1
        end
        drop_over(queues, sizes, prefix)
    end
end
drop(queues, sizes, queue)
if new == '' then
    redis.call('DEL', data)
    return 1
end
ends = math.min(ends, now + longest)
redis.call('SET', data, new, 'PX', math.max(1, math.ceil((ends - now) * 1000)) + 1000)
redis.call('ZADD', queues, string.format('%.6f', ends), queue)
redis.call('HSET', sizes, queue, #new)
redis.call('HINCRBY', sizes, 'total', #new)
redis.call('PEXPIRE', queues, longest * 2000)
redis.call('PEXPIRE', sizes, longest * 2000)
return 1
"""
)
"""1: swapped, 0: something else is there, -1: too many wait."""

ELSEWHERE = Script(
    _NOW
    + b"""
local after = '(' .. string.format('%.6f', now)
for _, queue in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], after, '+inf', 'LIMIT', 0, 2)) do
    if queue ~= ARGV[1] then
        return 1
    end
end
return 0
"""
)

PAIRED = Script(
    _NOW
    + b"""
local found = {}
for at, pair in ipairs(ARGV) do
    found[at] = tonumber(redis.call('ZSCORE', KEYS[1], pair) or 0) > now and 1 or 0
end
return found
"""
)

REMEMBER = Script(
    _NOW
    + b"""
redis.call('ZADD', KEYS[1], string.format('%.6f', now + ARGV[2]), ARGV[1])
if redis.call('ZCARD', KEYS[1]) > tonumber(ARGV[3]) then
    redis.call('ZPOPMIN', KEYS[1]) -- whichever is forgotten first anyway
end
local ttl = math.min(math.ceil(ARGV[2] * 1000), 1e9) + 1000
if redis.call('PTTL', KEYS[1]) < ttl then
    redis.call('PEXPIRE', KEYS[1], ttl)
end
return 1
"""
)

SWEEP = Script(
    _NOW
    + _DROP
    + b"""
drop_over(KEYS[1], KEYS[2], ARGV[1])
return redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
"""
)
