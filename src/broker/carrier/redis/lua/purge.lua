-- Removes some of what waits, and of what waits for its time. Answers how many those were (0: none
-- is left) and up to which entry: what comes later stays, or a purge would not end.
-- KEYS: stream, delayed. ARGV: how many at most, how many bytes may be looked at for it, and up to
-- which entry, if that was said before.
if redis.call('EXISTS', KEYS[1]) == 0 then return NO_QUEUE end
local delivered = delivered_up_to(KEYS[1])
if not delivered then return NO_QUEUE end
local most, bytes, removed = tonumber(ARGV[1]), tonumber(ARGV[2]), 0
local last = ARGV[3]
if last == '' then
    local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
    last = newest and newest[1] or '0-0'
end
while removed < most and bytes > 0 do
    local entry = redis.call('XRANGE', KEYS[1], '(' .. delivered, last, 'COUNT', 1)[1]
    if not entry then break end
    redis.call('XDEL', KEYS[1], entry[1])
    bytes, removed = bytes - size_of(entry[2]), removed + 1
end
if removed < most and bytes > 0 then
    removed = removed + redis.call('ZREMRANGEBYRANK', KEYS[2], 0, most - removed - 1)
end
return { removed, last }
