-- What ingress-nginx uses of resty.lock: locks that are not waited for.
local _M = {}
_M.__index = _M

function _M.new(self, dictionary, options)
  return setmetatable({ locks = ngx.shared[dictionary], expires = options.exptime }, self)
end

function _M.lock(self, key)
  local added = self.locks:add(key, true, self.expires)
  if not added then
    return nil, "timeout"
  end
  self.key = key
  return 0
end

function _M.unlock(self)
  self.locks:delete(self.key)
  return 1
end

return _M
