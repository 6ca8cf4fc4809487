-- What the scripts share. It stands before each of them.

local GROUP = 'rowmill'
-- What a queue's deadline is if nobody said.
local DEADLINE = 30000

-- Lua cannot hand more values than this to a call at once.
local AT_ONCE = 1000

-- The server's clock, in milliseconds.
local function clock()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- All processes consume under one name, in which the deadline stands that their deliveries have: what
-- is in whose hands is told apart by entry and count of deliveries. Others have names of their own.
local function consumer(deadline) return 'rowmill-' .. string.format('%d', deadline) end
local function deadline_in(name) return tonumber(string.match(name, '^rowmill%-(%d+)$')) end

-- How a delivery stands: 1 in its consumer's hands (under which name, and for how long), 0 gone, -1 in
-- other hands.
local function standing(stream, id, count)
    local pending = redis.call('XPENDING', stream, GROUP, id, id, 1)[1]
    if not pending then return 0 end
    if deadline_in(pending[2]) and pending[4] == count then return 1, pending[2], pending[3] end
    return -1
end

-- Calls a command with all of these, some at a time.
local function with_all(values, command, ...)
    local before = { ... }
    for first = 1, #values, AT_ONCE do
        local last = math.min(first + AT_ONCE - 1, #values)
        local call = { unpack(before) }
        for i = first, last do call[#call + 1] = values[i] end
        redis.call(command, unpack(call))
    end
end

-- Ends deliveries: what is acked is deleted, so that a stream holds what is not done, and no more.
local function finish(stream, holds, ids)
    if #ids == 0 then return end
    with_all(ids, 'XACK', stream, GROUP)
    with_all(ids, 'XDEL', stream)
    if redis.call('EXISTS', holds) == 1 then with_all(ids, 'ZREM', holds) end
end

-- The value of a field of an entry, and its place; nil if it has none.
local function field(fields, name)
    for i = 1, #fields, 2 do
        if fields[i] == name then return fields[i + 1], i end
    end
    return nil, nil
end

local function set_field(fields, name, value)
    local _, at = field(fields, name)
    at = at or #fields + 1
    fields[at], fields[at + 1] = name, tostring(value)
end

local function drop_field(fields, name)
    local _, at = field(fields, name)
    if at then
        table.remove(fields, at)
        table.remove(fields, at)
    end
end

-- The fields of one entry; nil if it was deleted.
local function fields_of(stream, id)
    local entry = redis.call('XRANGE', stream, id, id)[1]
    return entry and entry[2]
end

-- How many bytes an entry's fields have.
local function size_of(fields)
    local bytes = 0
    for i = 1, #fields do bytes = bytes + #fields[i] end
    return bytes
end

-- When an entry came, in milliseconds: its id says so.
local function came_at(id) return tonumber(string.match(id, '^(%d+)')) end

-- Keeps fields until they are due. Two that are alike stay two, because each gets a number.
local function put_later(delayed, settings, due, fields)
    local number = redis.call('HINCRBY', settings, 'delays', 1)
    redis.call('ZADD', delayed, due, cmsgpack.pack({ number, unpack(fields) }))
end

-- The last entry that was delivered to anybody; what comes after it waits.
local function delivered_up_to(stream)
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
        local last, ours
        for i = 1, #group, 2 do
            if group[i] == 'name' then ours = group[i + 1] == GROUP end
            if group[i] == 'last-delivered-id' then last = group[i + 1] end
        end
        if ours then return last end
    end
    return nil
end

local NO_QUEUE = redis.error_reply('NOGROUP no such queue')
