-- How a queue stands: what waits, what waits for its time, what is in hands.
-- KEYS: stream, delayed.
if redis.call('EXISTS', KEYS[1]) == 0 then return NO_QUEUE end
local pending = redis.call('XPENDING', KEYS[1], GROUP)[1]
local due = redis.call('ZCOUNT', KEYS[2], '-inf', clock())
local entries = redis.call('XLEN', KEYS[1])
return { math.max(0, entries - pending) + due, redis.call('ZCARD', KEYS[2]) - due, pending }
