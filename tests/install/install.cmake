# What others get: every public header on its own, in C and in C++; the installed tree, used from outside.
if(DUET_SANITIZE)
  set(install_flags -fsanitize=address,undefined)
elseif(DUET_TSAN)
  set(install_flags -fsanitize=thread)
endif()
find_program(DUET_CXX NAMES c++ g++ clang++)
set(install_dir ${CMAKE_CURRENT_SOURCE_DIR}/tests/install)

add_test(NAME install/headers-c COMMAND ${install_dir}/headers.sh ${CMAKE_C_COMPILER} -x c -std=c11)
add_test(NAME install/headers-cxx COMMAND ${install_dir}/headers.sh ${DUET_CXX} -x c++ -std=c++11)
add_test(NAME install/tree COMMAND ${install_dir}/tree.sh ${CMAKE_COMMAND} ${CMAKE_CURRENT_BINARY_DIR} ${CMAKE_C_COMPILER} ${install_flags})
set_tests_properties(install/headers-c install/headers-cxx install/tree PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300)
