-- A library in plain Lua: what it returns is what `require` gives.
local library = {}

library.loaded = 0

function library.double(number)
    return number * 2
end

return library
