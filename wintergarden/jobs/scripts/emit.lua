-- Appends events of an attempt. ARGV: id, licence, write, bytes kept, then (type, step, body)…
-- Progress is also kept in the record. A picture is shown once, however often attempts draw it: its
-- file's name without the folder tells. Beyond the byte limit the oldest events go.
local id, write = ARGV[1], ARGV[3]
if is_repeated(id, ARGV[2], write) then return 'repeated' end
if is_stale(id, ARGV[2]) then return 'stale' end

local job, events = key('job', id), key('events', id)
local function is_shown(body)
  local name = cjson.decode(body).name:match('[^/]*$')
  return redis.call('HSETNX', job, 'shown:' .. name, 1) == 0
end

for i = 5, #ARGV, 3 do
  if ARGV[i] ~= 'picture' or not is_shown(ARGV[i + 2]) then
    append(id, ARGV[i], ARGV[i + 1], ARGV[i + 2])
  end
  if ARGV[i] == 'progress' then
    local progress = cjson.decode(ARGV[i + 2])
    redis.call('HSET', job, 'progress', tostring(progress.fraction), 'phase', progress.phase)
  end
end
redis.call('HSET', job, 'writes', write)

local excess = tonumber(redis.call('HGET', job, 'event_bytes')) - tonumber(ARGV[4])
while excess > 0 and redis.call('XLEN', events) > 1 do
  local oldest = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)[1]
  local fields = oldest[2]
  local bytes = #fields[#fields] -- the body is written last
  redis.call('XDEL', events, oldest[1])
  redis.call('HINCRBY', job, 'event_bytes', -bytes)
  excess = excess - bytes
end
return 'written'
