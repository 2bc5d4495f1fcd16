// A plug-in of another release; it must not get to register.

#include <cstdlib>

extern "C" int bantam_plugin_abi() { return 999; }
extern "C" void bantam_plugin_register() { std::abort(); }
