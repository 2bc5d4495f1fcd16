# Builds for arm64 with Debian's cross compiler and the libraries of sysroot.sh in the folder
# `sysroot` of the build, and runs tests in QEMU. The preset `arm64` uses it.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(BANTAM_SYSROOT ${CMAKE_BINARY_DIR}/sysroot CACHE PATH "Where the libraries for arm64 are")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES BANTAM_SYSROOT)

# Not CMAKE_SYSROOT: the compiler comes with its own C and C++ libraries.
set(CMAKE_FIND_ROOT_PATH ${BANTAM_SYSROOT} /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(libraries ${BANTAM_SYSROOT}/usr/lib/aarch64-linux-gnu)
foreach(kind EXE SHARED MODULE)
  set(CMAKE_${kind}_LINKER_FLAGS_INIT "-Wl,-rpath-link,${libraries}")
endforeach()
# "max" has every extension QEMU knows.
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -cpu max -L ${BANTAM_SYSROOT})
