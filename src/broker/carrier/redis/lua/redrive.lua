-- Moves some of what waits to another queue, as new there, as far as that one has room. Answers how
-- many went and whether it is full.
-- KEYS: stream; the other's stream, settings and delayed. ARGV: the attribute of the reason; how many at
-- most, and how many bytes.
if redis.call('EXISTS', KEYS[1]) == 0 then return NO_QUEUE end
if redis.call('EXISTS', KEYS[2]) == 0 then return redis.error_reply('NODEAD no such queue') end
local delivered = delivered_up_to(KEYS[1])
if not delivered then return NO_QUEUE end
local most, bytes, moved = tonumber(ARGV[2]), tonumber(ARGV[3]), 0
local capacity = tonumber(redis.call('HGET', KEYS[3], 'capacity'))
local room = math.huge
if capacity then room = capacity - redis.call('XLEN', KEYS[2]) - redis.call('ZCARD', KEYS[4]) end
while moved < most and moved < room and bytes > 0 do
    local entry = redis.call('XRANGE', KEYS[1], '(' .. delivered, '+', 'COUNT', 1)[1]
    if not entry then break end
    local fields = entry[2]
    bytes = bytes - size_of(fields)
    drop_field(fields, 'attempts')
    drop_field(fields, 'since')
    drop_field(fields, ARGV[1])
    redis.call('XADD', KEYS[2], '*', unpack(fields))
    redis.call('XDEL', KEYS[1], entry[1])
    moved = moved + 1
end
return { moved, (room <= moved) and 1 or 0 }
