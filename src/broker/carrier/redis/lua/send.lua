-- Adds parcels, those that wait for their time among them, as far as the queue has room; answers
-- how many of the first were taken.
-- KEYS: stream, settings, delayed. ARGV: for each parcel its delay, the number of its fields and their
-- values, those.
if redis.call('EXISTS', KEYS[1]) == 0 then return NO_QUEUE end
local capacity = tonumber(redis.call('HGET', KEYS[2], 'capacity'))
local room = math.huge
if capacity then
    room = capacity - redis.call('XLEN', KEYS[1]) - redis.call('ZCARD', KEYS[3])
end
local now, at, taken = clock(), 1, 0
while at <= #ARGV and taken < room do
    local delay, count = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
    local fields = { unpack(ARGV, at + 2, at + 1 + count) }
    if delay > 0 then
        put_later(KEYS[3], KEYS[2], now + delay, fields)
    else
        redis.call('XADD', KEYS[1], '*', unpack(fields))
    end
    at, taken = at + 2 + count, taken + 1
end
return taken
