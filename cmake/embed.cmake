# Files as bytes in the program: no file to find at run time, no tool but CMake to build.
#
#   duet_embed(SOURCES NAME FILE...)   adds to the list SOURCES a C file that defines `dt_embedded const NAME[]`, one entry a FILE
#                                      under its file name, ended by a NULL name (src/base/embed.h); made again when a FILE changes
function(duet_embed sources name)
  set(made ${CMAKE_CURRENT_BINARY_DIR}/embedded/${name}.c)
  list(TRANSFORM ARGN PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/ OUTPUT_VARIABLE files)
  list(JOIN files "|" joined)
  add_custom_command(OUTPUT ${made} DEPENDS ${files} ${CMAKE_CURRENT_FUNCTION_LIST_FILE} VERBATIM
    COMMAND ${CMAKE_COMMAND} "-DEMBED_FILES=${joined}" -DEMBED_NAME=${name} -DEMBED_OUT=${made} -P ${CMAKE_CURRENT_FUNCTION_LIST_FILE}
    COMMENT "Embedding ${name}")
  set(${sources} ${${sources}} ${made} PARENT_SCOPE)
endfunction()

# Run as a script: writes the C file.
if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  string(REPLACE "|" ";" files "${EMBED_FILES}")
  set(text "#include \"base/embed.h\"\n\n")
  set(table "")
  set(i 0)
  foreach(file IN LISTS files)
    get_filename_component(base ${file} NAME)
    file(READ ${file} hex HEX)
    string(LENGTH "${hex}" n)
    math(EXPR n "${n} / 2")
    string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}") # lines a compiler likes
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
    string(APPEND text "static const unsigned char file_${i}[] = {\n${hex}0};\n\n") # a NUL behind it, not counted
    string(APPEND table "    {\"${base}\", file_${i}, ${n}},\n")
    math(EXPR i "${i} + 1")
  endforeach()
  string(APPEND text "const dt_embedded ${EMBED_NAME}[] = {\n${table}    {0, 0, 0}};\n")
  file(WRITE ${EMBED_OUT} "${text}")
endif()
