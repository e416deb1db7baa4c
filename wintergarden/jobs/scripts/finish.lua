-- Ends an attempt. ARGV: id, licence, write, outcome, reason, model, version, metrics
-- Outcomes: SUCCEEDED, FAILED, CANCELLED, PAUSED; RETRY and REQUEUE run the job again, and only
-- the first counts against it.
local id, outcome, reason = ARGV[1], ARGV[4], ARGV[5]
if is_repeated(id, ARGV[2], ARGV[3]) then return redis.call('HGET', key('job', id), 'state') end
if is_stale(id, ARGV[2]) then return 'stale' end

local job = key('job', id)
redis.call('HSET', job, 'writes', ARGV[3])
if outcome == 'RETRY' or outcome == 'REQUEUE' then
  return try_again(id, reason, outcome == 'RETRY')
end
if outcome == 'PAUSED' and redis.call('HGET', job, 'requested') ~= 'pause' then
  -- The wish was withdrawn, or became a cancellation, while the attempt was ending.
  return try_again(id, reason, false)
end
if outcome == 'SUCCEEDED' then
  redis.call('HSET', job, 'model_name', ARGV[6], 'model_version', ARGV[7], 'metrics', ARGV[8],
    'progress', 1)
end
enter(id, outcome, reason)
return outcome
