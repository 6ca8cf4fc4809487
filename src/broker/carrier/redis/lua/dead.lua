-- Moves deliveries to the dead queue, each with its reason. Answers how each stood.
-- KEYS: stream, holds, the dead queue's stream. ARGV: the attribute of the reason; for each its entry,
-- its count and its reason.
if redis.call('EXISTS', KEYS[3]) == 0 then return redis.error_reply('NODEAD no such queue') end
local answers = {}
for i = 2, #ARGV, 3 do
    local id, count = ARGV[i], tonumber(ARGV[i + 1])
    local stands = standing(KEYS[1], id, count)
    if stands == 1 then
        local fields = fields_of(KEYS[1], id)
        if fields then
            drop_field(fields, 'attempts')
            drop_field(fields, 'since')
            set_field(fields, ARGV[1], ARGV[i + 2])
            redis.call('XADD', KEYS[3], '*', unpack(fields))
        end
        finish(KEYS[1], KEYS[2], { id })
    end
    answers[#answers + 1] = stands
end
return answers
