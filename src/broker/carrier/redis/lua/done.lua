-- Ends deliveries that nobody else can have got yet: those whose deadline is to come, as long as none
-- of the queue was given another one. What is pending then is theirs, and need not be looked at one by
-- one. Answers how many they are when all stood; how each stood; or nothing, and nothing was done.
-- KEYS: stream, holds. ARGV: when the first deadline ends; their entries.
local count = #ARGV - 1
if clock() >= tonumber(ARGV[1]) or count > AT_ONCE or redis.call('EXISTS', KEYS[2]) == 1 then
    return false
end
if redis.call('XACK', KEYS[1], GROUP, unpack(ARGV, 2)) == count then
    redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
    return count
end
-- Some were gone. What was acked just now is still in the stream, and what was gone is not.
local answers = {}
for i = 2, #ARGV do
    answers[i - 1] = redis.call('XDEL', KEYS[1], ARGV[i])
end
return answers
