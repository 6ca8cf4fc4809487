-- What must be done now and then, a bounded piece of it; several processes may do it at once.
-- What is due goes into the stream, in which it wakes who waits. What waited too long is dropped. What
-- others acked without deleting it goes. What was held past its deadline is claimed.
-- KEYS: stream, settings, delayed, holds. ARGV: deliveries to claim at most; where to look on among
-- those pending, and at how many; how many due parcels to move, and bytes of them.
-- Answers the clock, in how many milliseconds there is something to do (-1: not known), where to look
-- on, the deliveries claimed and the settings.
if redis.call('EXISTS', KEYS[1]) == 0 then return NO_QUEUE end
local most, cursor, look_at = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local now, next_due = clock(), math.huge
local deadline = tonumber(redis.call('HGET', KEYS[2], 'deadline_ms')) or DEADLINE
local retention = tonumber(redis.call('HGET', KEYS[2], 'retention_ms'))

local moved = 0
for _, member in ipairs(
    redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, tonumber(ARGV[4]))
) do
    if moved > tonumber(ARGV[5]) then break end
    local fields = cmsgpack.unpack(member)
    table.remove(fields, 1) -- its number
    redis.call('XADD', KEYS[1], '*', unpack(fields))
    redis.call('ZREM', KEYS[3], member)
    moved = moved + #member
end
local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
if first[2] then next_due = math.max(0, tonumber(first[2]) - now) end

local delivered = delivered_up_to(KEYS[1])
if not delivered then return NO_QUEUE end
if retention then
    for _ = 1, 100 do
        local head = redis.call('XRANGE', KEYS[1], '(' .. delivered, '+', 'COUNT', 1)[1]
        if not head or came_at(head[1]) + retention > now then break end
        redis.call('XDEL', KEYS[1], head[1])
    end
end

-- Before the oldest of those pending, everything that was delivered is done.
local oldest = redis.call('XPENDING', KEYS[1], GROUP)[2]
if oldest then
    redis.call('XTRIM', KEYS[1], 'MINID', '=', oldest)
else
    local waits = redis.call('XRANGE', KEYS[1], '(' .. delivered, '+', 'COUNT', 1)[1]
    if waits then
        redis.call('XTRIM', KEYS[1], 'MINID', '=', waits[1])
    else
        redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', 0)
    end
end

redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now)
local claimed, looked, full = {}, 0, false
if oldest then
    for _, pending in ipairs(redis.call('XPENDING', KEYS[1], GROUP, cursor, '+', look_at)) do
        local id, name, idle, count = unpack(pending)
        local left = (deadline_in(name) or deadline) - idle
        if left <= 0 then
            local held = tonumber(redis.call('ZSCORE', KEYS[4], id))
            left = held and held - now or 0
        end
        if left > 0 then
            next_due = math.min(next_due, left)
        elseif #claimed == most then
            full, next_due = true, 0
            break
        else
            local entry = redis.call('XCLAIM', KEYS[1], GROUP, consumer(deadline), 0, id)[1]
            if entry then
                claimed[#claimed + 1] = { id, entry[2], count + 1 }
            else
                redis.call('XACK', KEYS[1], GROUP, id) -- its entry was deleted
            end
        end
        cursor, looked = '(' .. id, looked + 1
    end
end
if looked < look_at and not full then cursor = '-' end

if next_due == math.huge then next_due = -1 end
return { now, math.ceil(next_due), cursor, claimed, redis.call('HGETALL', KEYS[2]) }
