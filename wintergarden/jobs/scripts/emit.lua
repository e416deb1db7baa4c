-- Appends events of an attempt. ARGV: id, licence, write, then (type, step, body)…
-- Progress is also kept in the record. A picture is shown once, however often attempts draw it: its
-- file's name without the folder tells.
local id, write = ARGV[1], ARGV[3]
if is_repeated(id, ARGV[2], write) then return 'repeated' end
if is_stale(id, ARGV[2]) then return 'stale' end

local job = key('job', id)
local function is_shown(body)
  local name = cjson.decode(body).name:match('[^/]*$')
  return redis.call('HSETNX', job, 'shown:' .. name, 1) == 0
end

for i = 4, #ARGV, 3 do
  if ARGV[i] ~= 'picture' or not is_shown(ARGV[i + 2]) then
    append(id, ARGV[i], ARGV[i + 1], ARGV[i + 2])
  end
  if ARGV[i] == 'progress' then
    local progress = cjson.decode(ARGV[i + 2])
    redis.call('HSET', job, 'progress', tostring(progress.fraction), 'phase', progress.phase)
  end
end
redis.call('HSET', job, 'writes', write)
return 'written'
