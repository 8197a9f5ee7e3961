-- A library that the testbed does not have: everything that it is asked for fails.
return setmetatable({}, {
  __index = function()
    return function()
      return nil, "not available in the testbed"
    end
  end,
})
