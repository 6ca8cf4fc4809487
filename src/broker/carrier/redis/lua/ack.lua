-- Ends deliveries. Answers how each stood.
-- KEYS: stream, holds. ARGV: for each its entry and its count.
local answers, ids, seen = {}, {}, {}
for i = 1, #ARGV, 2 do
    local id = ARGV[i]
    local stands = seen[id] and 0 or standing(KEYS[1], id, tonumber(ARGV[i + 1]))
    if stands == 1 then
        ids[#ids + 1], seen[id] = id, true
    end
    answers[#answers + 1] = stands
end
finish(KEYS[1], KEYS[2], ids)
return answers
