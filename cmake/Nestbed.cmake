# What every target of this project shares: warnings, sanitizers, and the shape of a room.

add_library(nestbed_options INTERFACE)
target_compile_features(nestbed_options INTERFACE cxx_std_20)
target_compile_options(nestbed_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Wcast-align -Woverloaded-virtual
  -Wconversion -Wsign-conversion -Wdouble-promotion -Wformat=2 -Wimplicit-fallthrough
  $<$<BOOL:${NESTBED_WERROR}>:-Werror>)
if(NESTBED_SANITIZE)
  target_compile_options(nestbed_options INTERFACE -fsanitize=${NESTBED_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(nestbed_options INTERFACE -fsanitize=${NESTBED_SANITIZE})
endif()

# nestbed_library(NAME SOURCES ... HEADERS ... LIBRARIES [PUBLIC libs...] [PRIVATE libs...])
# makes nestbed::NAME from the current folder. The headers form a file set, so that the target
# all_verify_interface_header_sets compiles each one on its own.
function(nestbed_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;HEADERS;LIBRARIES" ${ARGN})
  add_library(nestbed_${name} STATIC ${arg_SOURCES})
  add_library(nestbed::${name} ALIAS nestbed_${name})
  target_sources(nestbed_${name} PUBLIC FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${arg_HEADERS})
  target_include_directories(nestbed_${name} SYSTEM PUBLIC ${Boost_INCLUDE_DIRS})
  target_compile_features(nestbed_${name} PUBLIC cxx_std_20)
  target_link_libraries(nestbed_${name} PRIVATE nestbed_options)
  cmake_parse_arguments(link "" "" "PUBLIC;PRIVATE" ${arg_LIBRARIES})
  target_link_libraries(nestbed_${name} PUBLIC ${link_UNPARSED_ARGUMENTS} ${link_PUBLIC} PRIVATE ${link_PRIVATE})
endfunction()

# nestbed_test(NAME SOURCES ... LIBRARIES ...) makes a GoogleTest program whose cases ctest lists one by one.
function(nestbed_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;LIBRARIES;LABELS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE nestbed_options ${arg_LIBRARIES} GTest::gtest GTest::gmock GTest::gtest_main)
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
  endif()
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
endfunction()

# nestbed_embed(NAME FILE) makes the library nestbed::NAME, which holds the bytes of a file, of this folder or by its whole
# path, as the symbols NAME_text and NAME_text_end.
function(nestbed_embed name file)
  set(holder ${CMAKE_CURRENT_BINARY_DIR}/${name}.S)
  cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} OUTPUT_VARIABLE content)
  file(GENERATE OUTPUT ${holder} CONTENT
"    .section .rodata
    .globl ${name}_text, ${name}_text_end
${name}_text:
    .incbin \"${content}\"
${name}_text_end:
    .byte 0
    .section .note.GNU-stack, \"\", @progbits
")
  add_library(${name} STATIC ${holder})
  add_library(nestbed::${name} ALIAS ${name})
  set_source_files_properties(${holder} PROPERTIES OBJECT_DEPENDS ${content})
endfunction()
