# One test for each folder in tests/cli/cases; see run.sh.
file(GLOB cli_cases CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/tests/cli/cases/*/cmd)
foreach(cmd IN LISTS cli_cases)
  get_filename_component(case_dir ${cmd} DIRECTORY)
  get_filename_component(case_name ${case_dir} NAME)
  add_test(NAME cli/${case_name} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/tests/cli/run.sh $<TARGET_FILE:duet> ${case_dir})
  set_tests_properties(cli/${case_name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 120)
endforeach()
