# What CMakeLists.txt beside this file says; every step must succeed.

# run(OUTPUT COMMAND...) stores what the command wrote in OUTPUT.
function(run output)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE err)
  if(NOT code EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}: exit code ${code}\n${out}${err}")
  endif()
  set(${output} "${out}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})
set(prefix "${WORK}/moved prefix")
run(ignored ${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/installed)
file(RENAME ${WORK}/installed ${prefix})

# The examples find nothing of the source or build tree, only the prefix.
run(ignored ${CMAKE_COMMAND} -S ${EXAMPLE} -B ${WORK}/build -G ${GENERATOR}
  -DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_C_COMPILER=${C_COMPILER} -DCMAKE_CXX_COMPILER=${CXX_COMPILER})
run(ignored ${CMAKE_COMMAND} --build ${WORK}/build)
run(c ${WORK}/build/example_c ${MODEL} "the cat")
run(cpp ${WORK}/build/example_cpp ${MODEL} "the cat")
message(STATUS "the examples wrote:\n${c}")
if(NOT c MATCHES "^prompt:( [0-9]+)+\nanswer:( [0-9]+)+\ngenerated 8 tokens\n$")
  message(FATAL_ERROR "the C example wrote:\n${c}")
endif()
if(NOT c STREQUAL cpp)
  message(FATAL_ERROR "the C++ example wrote:\n${cpp}but the C example:\n${c}")
endif()

# The installed program, too, finds the library in the moved prefix.
run(version "${prefix}/bin/bantam" --version)
if(NOT version MATCHES "${VERSION}")
  message(FATAL_ERROR "bantam --version wrote: ${version}")
endif()

# pkg-config serves those who do not use CMake.
find_program(PKG_CONFIG pkg-config)
if(PKG_CONFIG)
  file(GLOB_RECURSE pc_file "${prefix}/*/bantam.pc")
  get_filename_component(pc_folder "${pc_file}" DIRECTORY)
  set(ENV{PKG_CONFIG_PATH} "${pc_folder}")
  run(version ${PKG_CONFIG} --modversion bantam)
  run(library_dir ${PKG_CONFIG} --variable=libdir bantam)
  run(include_dir ${PKG_CONFIG} --variable=includedir bantam)
  foreach(text version library_dir include_dir)
    string(STRIP "${${text}}" ${text})
    string(REPLACE "\\ " " " ${text} "${${text}}")
  endforeach()
  if(NOT version STREQUAL VERSION)
    message(FATAL_ERROR "pkg-config says version ${version}, expected ${VERSION}")
  endif()
  run(ignored ${C_COMPILER} -std=c99 ${EXAMPLE}/main.c -I${include_dir} -L${library_dir} -lbantam
    -Wl,-rpath,${library_dir} -o ${WORK}/example_pkg_config)
  run(again ${WORK}/example_pkg_config ${MODEL} "the cat")
  if(NOT again STREQUAL c)
    message(FATAL_ERROR "the example built by pkg-config wrote:\n${again}but by CMake:\n${c}")
  endif()
endif()
