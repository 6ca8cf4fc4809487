-- The first that wait.
-- KEYS: stream. ARGV: how many at most.
if redis.call('EXISTS', KEYS[1]) == 0 then return NO_QUEUE end
local delivered = delivered_up_to(KEYS[1])
if not delivered then return NO_QUEUE end
return redis.call('XRANGE', KEYS[1], '(' .. delivered, '+', 'COUNT', ARGV[1])
