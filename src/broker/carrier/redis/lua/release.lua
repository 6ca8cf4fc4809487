-- Gives deliveries back: each becomes an entry anew, at the end of the stream, which wakes those
-- who wait; or goes where it waits for its time. Answers how each stood.
-- KEYS: stream, settings, delayed, holds. ARGV: for each its entry, its count and its delay.
local now, answers = clock(), {}
for i = 1, #ARGV, 3 do
    local id, count, delay = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
    local stands = standing(KEYS[1], id, count)
    if stands == 1 then
        local fields = fields_of(KEYS[1], id)
        if fields then
            local before = field(fields, 'attempts')
            local since = field(fields, 'since')
            set_field(fields, 'attempts', (tonumber(before) or 0) + count)
            set_field(fields, 'since', since or string.format('%d', came_at(id)))
            if delay > 0 then
                put_later(KEYS[3], KEYS[2], now + delay, fields)
            else
                redis.call('XADD', KEYS[1], '*', unpack(fields))
            end
        end
        finish(KEYS[1], KEYS[4], { id })
    end
    answers[#answers + 1] = stands
end
return answers
