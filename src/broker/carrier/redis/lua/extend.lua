-- Gives deliveries a new time from now. How long one has been idle cannot be less than nothing, so
-- one that is to last longer than its deadline is held as well. One that is to end sooner than it would
-- have leaves a note until then: its handle says a time at which another may have it (see done.lua).
-- Answers how each stood.
-- KEYS: stream, holds. ARGV: the time in milliseconds; for each its entry and its count.
local lasting, answers = tonumber(ARGV[1]), {}
local now = clock()
for i = 2, #ARGV, 2 do
    local id = ARGV[i]
    local stands, name, was_idle = standing(KEYS[1], id, tonumber(ARGV[i + 1]))
    if stands == 1 then
        local deadline = deadline_in(name)
        local idle = math.max(0, deadline - lasting)
        redis.call('XCLAIM', KEYS[1], GROUP, name, 0, id, 'IDLE', idle, 'JUSTID')
        if lasting > deadline then
            redis.call('ZADD', KEYS[2], now + lasting, id)
        else
            redis.call('ZREM', KEYS[2], id)
        end
        if lasting < deadline - was_idle then
            redis.call('ZADD', KEYS[2], now + deadline - was_idle, 'sooner ' .. id)
        end
    end
    answers[#answers + 1] = stands
end
return answers
