-- Cancels a queued job at once and asks a running one to stop. ARGV: id
-- Answers the state after it; a job that has ended stays as it is.
local id = ARGV[1]
local job = key('job', id)
local stored = redis.call('HMGET', job, 'state', 'cancel_requested')
if stored[1] == 'QUEUED' then
  enter(id, 'CANCELLED', 'cancelled before it started')
  return 'CANCELLED'
end
if stored[1] == 'RUNNING' and stored[2] ~= '1' then
  redis.call('HSET', job, 'cancel_requested', '1')
  append(id, 'log', 0, cjson.encode({level = 'info', text = 'cancellation requested'}))
end
return stored[1]
