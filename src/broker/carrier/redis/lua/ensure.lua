-- Makes a queue, or changes its settings.
-- KEYS: stream, settings. ARGV: the fields of the settings and their values.
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], GROUP, '0', 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then return made end
redis.call('HDEL', KEYS[2], 'dead', 'deliveries', 'retention_ms', 'capacity')
redis.call('HSET', KEYS[2], unpack(ARGV))
return 1
