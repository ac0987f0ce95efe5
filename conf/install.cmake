# SPDX-License-Identifier: Apache-2.0
#
# What `cmake --install` puts where. Paths can be changed with -DSKR_PKCS11_DIR=, -DSKR_P11KIT_DIR=, -DSKR_SYSTEMD_DIR= and the
# CMAKE_INSTALL_… variables; DESTDIR is honoured everywhere.

set(SKR_SYSTEMD_DIR lib/systemd/system CACHE STRING "where systemd looks for units")
set(SKR_SYSUSERS_DIR lib/sysusers.d CACHE STRING "where systemd looks for groups to make")
set(SKR_TMPFILES_DIR lib/tmpfiles.d CACHE STRING "where systemd looks for folders to make")
set(SKR_BASH_COMPLETION_DIR ${CMAKE_INSTALL_DATADIR}/bash-completion/completions CACHE STRING "where bash looks for completions")
set(SKR_ZSH_COMPLETION_DIR ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions CACHE STRING "where zsh looks for completions")
set(SKR_CONF_DIR /etc CACHE STRING "where the configuration is installed; programs read /etc unless they are told otherwise")

get_filename_component(skr_module_dir ${SKR_PKCS11_DIR} ABSOLUTE BASE_DIR ${CMAKE_INSTALL_PREFIX})
target_compile_definitions(skr_cli PRIVATE SKR_MODULE_PATH="${skr_module_dir}/skr-pkcs11.so")
target_compile_definitions(skr_emulator PRIVATE SKR_MODULE_PATH="${skr_module_dir}/skr-pkcs11.so"
  SKR_PRELOAD_PATH="${CMAKE_INSTALL_FULL_LIBDIR}/skr-pkcs11/skr-guest-preload.so")

# p11-kit resolves a bare name in its own module directory; a module that is elsewhere is named by its whole path.
pkg_get_variable(skr_p11kit_modules p11-kit-1 p11_module_path)
if(skr_module_dir STREQUAL skr_p11kit_modules)
  set(SKR_P11KIT_MODULE skr-pkcs11.so)
else()
  set(SKR_P11KIT_MODULE ${skr_module_dir}/skr-pkcs11.so)
endif()

configure_file(${CMAKE_CURRENT_LIST_DIR}/skr-pkcs11.conf.in conf/skr-pkcs11.conf @ONLY)
configure_file(${CMAKE_CURRENT_LIST_DIR}/skr-pkcs11.module.in conf/skr-pkcs11.module @ONLY)
configure_file(${CMAKE_CURRENT_LIST_DIR}/skr-agent@.service.in conf/skr-agent@.service @ONLY)

# Programs
install(TARGETS skr-pkcs11 LIBRARY DESTINATION ${SKR_PKCS11_DIR})
install(TARGETS skr-agent RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/skr-pkcs11)
install(TARGETS skr-pkcs11-cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES include/skr_pkcs11.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

# Surroundings
install(FILES ${PROJECT_BINARY_DIR}/conf/skr-pkcs11.module DESTINATION ${SKR_P11KIT_DIR})
install(FILES conf/skr-agent.socket ${PROJECT_BINARY_DIR}/conf/skr-agent@.service DESTINATION ${SKR_SYSTEMD_DIR})
install(FILES conf/sysusers.conf DESTINATION ${SKR_SYSUSERS_DIR} RENAME skr-pkcs11.conf)
install(FILES conf/tmpfiles.conf DESTINATION ${SKR_TMPFILES_DIR} RENAME skr-pkcs11.conf)

install(FILES conf/completion/skr-pkcs11.bash DESTINATION ${SKR_BASH_COMPLETION_DIR} RENAME skr-pkcs11)
install(FILES conf/completion/_skr-pkcs11 DESTINATION ${SKR_ZSH_COMPLETION_DIR})

# A configuration that is there already is never touched. The one installed has every line commented out: no tokens.
install(CODE "
  set(skr_conf \"\$ENV{DESTDIR}${SKR_CONF_DIR}/skr-pkcs11.conf\")
  if(EXISTS \"\${skr_conf}\")
    message(STATUS \"Kept: \${skr_conf}\")
  else()
    file(INSTALL DESTINATION \"${SKR_CONF_DIR}\" TYPE FILE PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ
      FILES \"${PROJECT_BINARY_DIR}/conf/skr-pkcs11.conf\")
  endif()
")

# Documents
install(FILES README.md LICENSE ${PROJECT_BINARY_DIR}/conf/skr-pkcs11.conf DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md" PATTERN "*.svg" PATTERN man EXCLUDE)
install(DIRECTORY conf/examples DESTINATION ${CMAKE_INSTALL_DOCDIR})

# Manual pages: docs/man/NAME.SECTION.scd; the emulator's goes with the emulator.
find_program(SCDOC scdoc REQUIRED)
file(GLOB skr_pages RELATIVE ${PROJECT_SOURCE_DIR}/docs/man CONFIGURE_DEPENDS docs/man/*.scd)
list(TRANSFORM skr_pages REPLACE "\\.scd$" "")
list(TRANSFORM skr_pages PREPEND ${PROJECT_BINARY_DIR}/man/ OUTPUT_VARIABLE skr_page_files)
add_custom_target(man ALL DEPENDS ${skr_page_files})
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/man)
foreach(page ${skr_pages})
  set(source ${PROJECT_SOURCE_DIR}/docs/man/${page}.scd)
  set(made ${PROJECT_BINARY_DIR}/man/${page})
  add_custom_command(OUTPUT ${made} DEPENDS ${source} VERBATIM COMMENT "Manual page ${page}"
    COMMAND sh -c "${SCDOC} <\"$1\" >\"$2.new\" && mv \"$2.new\" \"$2\"" scdoc ${source} ${made})
  string(REGEX MATCH "[1-9]$" section ${page})
  set(component "")
  if(page MATCHES "^skr-emulator")
    set(component COMPONENT emulator EXCLUDE_FROM_ALL)
  endif()
  install(FILES ${made} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} ${component})
endforeach()

# The emulator is a tool for development, and no part of a production machine: cmake --install BUILD --component emulator
install(TARGETS skr-emulator RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT emulator EXCLUDE_FROM_ALL)
install(TARGETS skr-guest-preload LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/skr-pkcs11
  COMPONENT emulator EXCLUDE_FROM_ALL)
