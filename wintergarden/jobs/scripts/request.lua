-- What a person asks of a job: 'cancel', 'pause' or 'resume'. ARGV: id, what
-- At once where it waits; where it runs, its worker is asked. Cancelling a parent cancels its
-- children. Answers the state before it, '' where there is no such job, or 'newer' where the
-- record's rules are not known here.
local function ask(id, what)
  local job = key('job', id)
  local stored = redis.call('HMGET', job, 'state', 'requested')
  local state, requested = stored[1], stored[2] or ''
  if not state or is_final(state) then return state or '' end
  if is_newer(id) then return 'newer' end

  if what == 'cancel' then
    for _, child in ipairs(redis.call('ZRANGE', key('children', id), 0, -1)) do
      ask(child, what)
    end
  end
  if state == 'RUNNING' then
    local wanted = what == 'resume' and '' or what
    if requested ~= 'cancel' and requested ~= wanted then
      redis.call('HSET', job, 'requested', wanted)
      log(id, what == 'cancel' and 'cancellation requested' or what .. ' requested')
    end
  elseif what == 'cancel' then
    enter(id, 'CANCELLED', state == 'PAUSED' and 'cancelled while it was paused'
      or 'cancelled before it started')
  elseif what == 'pause' and state == 'QUEUED' then
    enter(id, 'PAUSED', 'paused while it waited')
  elseif what == 'resume' and state == 'PAUSED' then
    enter(id, 'QUEUED', '')
  end
  return state
end

return ask(ARGV[1], ARGV[2])
