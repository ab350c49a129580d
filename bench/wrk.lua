-- wrk -s wrk.lua URL -- PLAN [PAUSE]
-- PLAN is a file of whole requests, a NUL between them, that are sent in turn. PAUSE is how many milliseconds each
-- connection rests before a request: a pace in place of as much as it can. The result is one line of JSON.

local requests, turn = {}, 0

function init(args)
  for text in io.open(args[1], "rb"):read("*a"):gmatch("%Z+") do
    requests[#requests + 1] = text
  end
  turn = math.random(#requests)
  if args[2] then
    local pause = tonumber(args[2])
    delay = function() return pause end
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"microseconds":%d,"bytes":%d,"refused":%d,"broken":%d,"late":%d,"p50":%f,"p99":%f}\n',
    summary.requests, summary.duration, summary.bytes, errors.status,
    errors.connect + errors.read + errors.write, errors.timeout, latency:percentile(50), latency:percentile(99)
  ))
end
