# SPDX-License-Identifier: Apache-2.0
# Sluice. `make` lists the verbs. One non-recursive Makefile; objects and generated code live under build/<flavour>/.
#
#   FLAVOUR  release (hardened, static-pie), debug, asan (ASan + UBSan; the tests' default), tsan, coverage, fuzz
#   LINK     dynamic | static; static is the default of release only
#   V=1      shows commands          CC=clang  builds with clang
#   ARCH=arm64     crosses (build, image, deb)
#   UNIT=core/bdf  one unit test     CASE=name  one test of it
#   STRICT=1       a stage or a test whose prerequisite is missing fails instead of being skipped
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
# What builds a flavour does it on every processor, unless -jN is given.
ifeq ($(origin FLAVOUR)$(filter -j% --jobserver%,$(shell echo "$$MAKEFLAGS")),command line)
MAKEFLAGS += -j$(shell nproc)
endif
V ?= 0
comma := ,
Q := $(if $(filter 1,$(V)),,@)
SAY = @$(if $(filter 1,$(V)),:,echo "  $(1)")
ifeq ($(origin CC),default)
CC := gcc
endif
FLAVOUR ?= debug
HOST_ARCH := $(shell dpkg --print-architecture)
ifneq ($(origin ARCH),command line)
ARCH := $(HOST_ARCH)
endif
ifneq ($(ARCH),$(HOST_ARCH))
include deploy/static/cross.mk
endif
B := build/$(FLAVOUR)$(CROSS)$(SUFFIX)
VERSION := $(shell cat VERSION)
DESTDIR ?=
PREFIX ?= /usr

# ---- flags ----
WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wwrite-strings -Wvla \
        -Wimplicit-fallthrough
HARDEN := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fstack-clash-protection -fPIE
CFLAGS_debug := -O1 -g
CFLAGS_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
CFLAGS_tsan := -O1 -g -fsanitize=thread
CFLAGS_coverage := -O0 -g --coverage
CFLAGS_fuzz := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
CFLAGS_release := -O2 -g $(HARDEN) -ffunction-sections -fdata-sections -ffile-prefix-map=$(CURDIR)=.
override CPPFLAGS += $(SYSROOT_FLAG) -D_GNU_SOURCE -Ipkg -I$(B)/gen -DSLUICE_VERSION='"$(VERSION)"' $(DEFINES)
override CFLAGS += -std=gnu11 $(CFLAGS_$(FLAVOUR))
override LDFLAGS += $(CROSS_LDFLAGS) $(filter -fsanitize=% --coverage,$(CFLAGS_$(FLAVOUR)))

LINK ?= $(if $(filter release,$(FLAVOUR)),static,dynamic)
ifeq ($(LINK),static)
STATIC := build/static$(CROSS)
ABSL = $(shell pkg-config --static --libs grpc_unsecure | tr ' ' '\n' | grep -- '-labsl' | awk '!s[$$0]++' | tr '\n' ' ')
override LDFLAGS += -static-pie -Wl,--build-id=sha1 -Wl,--gc-sections -Wl,-z,relro,-z,now $(if $(filter amd64,$(ARCH)),-Wl$(comma)-z$(comma)pack-relative-relocs) -L$(STATIC)/lib
LIBS = -Wl,--start-group -lgrpc_unsecure -lgpr -laddress_sorting -lupb -lcares -lprotobuf-c $(ABSL) -luv_a -lyaml -ljansson -lpci \
       -lsmartcols -lz -lstdc++ -lpthread -lm -ldl -Wl,--end-group
# What gRPC makes ready at its start for names on a network and for load balancing; our channels are unix sockets. Its functions
# of these names become an empty one (pkg/rpc/rpc.c); a gRPC that has other names is linked whole.
RPC_LEFT_OUT := RegisterRlsLbPolicy RegisterGrpcLbPolicy RegisterRingHashLbPolicy RegisterRoundRobinLbPolicy RegisterPriorityLbPolicy \
                RegisterWeightedTargetLbPolicy RegisterOutlierDetectionLbPolicy FaultInjectionFilterRegister RegisterAresDnsResolver \
                RegisterNativeDnsResolver RegisterFakeResolver RegisterHttpProxyMapper RegisterHttpConnectHandshaker
RPC_LEFT_OUT := $(foreach f,$(RPC_LEFT_OUT),_ZN9grpc_core$(shell printf $(f) | wc -c)$(f)EPNS_17CoreConfiguration7BuilderE) \
                _Z27grpc_resolver_dns_ares_initv _Z31grpc_resolver_dns_ares_shutdownv
LINK_MAP = -Wl,-Map=$@.map
LDFLAGS_sluiced := $(RPC_LEFT_OUT:%=-Wl,--defsym=%=rpc_left_out)
STATIC_LIBS := $(STATIC)/lib/libpci.a $(STATIC)/lib/libsmartcols.a
# glibc warns of name look-ups in a static program. Ours makes none: unix sockets only. V=1 shows the warnings.
ifneq ($(V),1)
QUIET_LD := 2> >(grep -vE "(libuv_a|libgrpc_unsecure|libcares)[.]a.*in function|in statically linked applications" >&2)
endif
else
override LDFLAGS += -Wl,--as-needed $(if $(filter release,$(FLAVOUR)),-pie -Wl$(comma)-z$(comma)relro$(comma)-z$(comma)now)
LIBS = $(DYNAMIC_LIBS)
endif
DYNAMIC_LIBS := -lgrpc_unsecure -lgpr -lprotobuf-c -luv -lyaml -ljansson -lpci -lsmartcols -lz -lpthread
# Programs of the tests that use cmocka, of which there is no archive: never linked statically.
CMOCKA_LD = $(CC) $(CFLAGS) $(filter-out -static-pie,$(LDFLAGS))
CMOCKA_LIBS := -lcmocka $(DYNAMIC_LIBS)

# ---- what there is ----
PROTOS := $(wildcard api/kubelet/*.proto api/node/v1/*.proto)
GEN_C := $(patsubst %.proto,$(B)/gen/%.pb-c.c,$(notdir $(PROTOS)))
vpath %.proto api/kubelet api/node/v1
PKG_C := $(wildcard pkg/*/*.c)
# sluiced is sluicectl too, under that name (cmd/sluiced/main.c): its verbs lie in the archive.
PKG_O := $(PKG_C:%.c=$(B)/%.o) $(GEN_C:.c=.o) $(patsubst %.c,$(B)/%.o,$(wildcard cmd/sluicectl/*.c))
CMDS := sluiced sluice-hand
BINS := $(CMDS:%=$(B)/bin/%) $(B)/bin/sluicectl
UNIT_C := $(sort $(wildcard tests/unit/*/*_test.c))
UNITS := $(UNIT_C:tests/%.c=$(B)/tests/%)
FUZZ := $(patsubst tests/fuzz/%_fuzz.c,%,$(sort $(wildcard tests/fuzz/*_fuzz.c)))
SOURCES := $(PKG_C) $(wildcard cmd/*/*.c tests/*/*.c tests/unit/*/*.c)

PACKAGES := build-essential pkg-config ca-certificates libgrpc-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler libuv1-dev \
            libyaml-dev libjansson-dev libpci-dev libsmartcols-dev libcmocka-dev zlib1g-dev pci.ids
PACKAGES_test := clang libclang-rt-14-dev $(shell cat tests/*/packages.txt 2>/dev/null | grep -v '^\#')
PACKAGES_lint := clang-format cppcheck shellcheck man-db gcovr universal-ctags

help: ## list the verbs
	@echo "Sluice $(VERSION): verbs of this Makefile"
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-22s %s\n", $$1, $$2}' Makefile
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-22s %s\n", $$1, $$2}' $(wildcard deploy/*/*.mk tests/*/*.mk) | sort
	@echo "Variables, as in 'make test-unit UNIT=core/bdf':"
	@sed -n 's/^#   /  /p' Makefile | head -8

# ---- packages ----
deps: ## install the Debian packages that building and testing need (says so first)
	@deploy/deps.sh $(PACKAGES) $(PACKAGES_test)
deps-lint:
	@deploy/deps.sh $(PACKAGES) $(PACKAGES_test) $(PACKAGES_lint)

# ---- build ----
build: ## build sluiced, sluice-hand and sluicectl (release, static) into build/release/bin
	@$(MAKE) FLAVOUR=release bins
bins: $(BINS)

# Once more when another version of their packages is installed: dpkg is asked each time, its answer kept when it is another one.
$(addsuffix /installed,$(STATIC)): ask
	@mkdir -p $(@D)
	@dpkg-query -W -f '$${Package} $${Version}\n' libpci-dev libsmartcols-dev > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
$(STATIC_LIBS) &: $(addsuffix /installed,$(STATIC)) deploy/static/build.sh | $(SYSROOT_READY)
	@CC="$(CC) $(SYSROOT_FLAG)" HOST=$(TRIPLET) deploy/static/build.sh $(STATIC)
$(B)/gen/%.pb-c.c: %.proto
	@mkdir -p $(@D)
	$(call SAY,GEN $(@F))
	$(Q)protoc-c --proto_path=$(<D) --c_out=$(@D) $<
$(B)/gen/%.pb-c.o: $(B)/gen/%.pb-c.c | $(SYSROOT_READY)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -w -MMD -MP -c $< -o $@
$(B)/%.o: %.c | $(GEN_C) $(STATIC_LIBS) $(SYSROOT_READY)
	@mkdir -p $(@D)
	$(call SAY,CC  $<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(WARN) $(WERROR) -MMD -MP -c $< -o $@
$(B)/libsluice.a: $(PKG_O)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^
define CMD_RULE
$(B)/bin/$(1): $(patsubst %.c,$(B)/%.o,$(wildcard cmd/$(1)/*.c)) $(B)/libsluice.a $(STATIC_LIBS)
	@mkdir -p $$(@D)
	$$(call SAY,LD  $$@)
	$(Q)$$(CC) $$(CFLAGS) $$(LDFLAGS) $$(LDFLAGS_$(1)) $$(LINK_MAP) -o $$@ $$(filter %.o %/libsluice.a,$$^) $$(LIBS) $$(QUIET_LD)
endef
$(foreach c,$(CMDS),$(eval $(call CMD_RULE,$(c))))
$(B)/bin/sluicectl: $(B)/bin/sluiced
	$(Q)ln -f $< $@
# Two of gRPC's functions are overridden (pkg/rpc/rpc.c); a dynamic gRPC finds ours only when they are exported.
ifneq ($(LINK),static)
LDFLAGS_sluiced := -Wl,--export-dynamic-symbol=gpr_cpu_num_cores -Wl,--export-dynamic-symbol=gpr_cpu_current_cpu
endif
$(B)/tests/unit/%: $(B)/tests/unit/%.o $(B)/libsluice.a
	$(call SAY,LD  $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %/libsluice.a,$^) -lcmocka $(LIBS)

$(filter $(B)/tests/unit/hands/%,$(UNITS)): | $(filter %/sluice-hand,$(BINS))

# ---- tests ----
check: ## the quick loop: units and fuzz corpora under ASan and UBSan
	@$(MAKE) test-unit
test: ## everything CI runs; installs what it needs
	@$(MAKE) deps
	@tests/stages.sh "make test" build test-unit test-docs test-sim test-crash test-fail test-peer test-kubelet test-kubevirt test-vm
test-all: ## everything there is
	@$(MAKE) deps-lint
	@tests/stages.sh "make test-all" build lint test-unit test-docs test-unit-clang test-tsan test-sim test-crash-all test-crash-asan test-fail-all test-peer test-kubelet-all test-kubevirt test-kubevirt-control test-chart test-image test-arm64 test-cluster test-deb test-vm test-mutants fuzz demo

STAGE ?= test-unit
test-unit: ## unit tests and fuzz corpora under ASan and UBSan (UNIT=core/bdf: one)
	@$(MAKE) FLAVOUR=asan run-units
run-units: $(if $(UNIT),$(B)/tests/unit/$(UNIT)_test,$(UNITS) $(FUZZ:%=$(B)/fuzz/%-replay))
	@SLUICE_BIN=$(B)/bin tests/unit/run.sh $(STAGE) $^
test-unit-clang: ## the same built by clang, warnings are errors
	@$(MAKE) FLAVOUR=asan SUFFIX=-clang CC=clang WERROR=-Werror STAGE=test-unit-clang run-units
test-tsan: ## units of the rooms with threads under TSan
	@$(MAKE) FLAVOUR=tsan run-tsan
TSAN_UNITS := $(filter $(B)/tests/unit/rpc/% $(B)/tests/unit/kubelet/%,$(UNITS))
run-tsan: $(TSAN_UNITS)
	@SLUICE_BIN=$(B)/bin TSAN_OPTIONS=ignore_noninstrumented_modules=1 tests/unit/run.sh test-tsan $^

# ---- fuzzing ----
fuzz: ## libFuzzer on every parser, FUZZ_SECONDS=20 each
	@$(MAKE) FLAVOUR=fuzz CC=clang run-fuzz
run-fuzz: $(FUZZ:%=$(B)/fuzz/%)
	@tests/fuzz/run.sh $^
$(B)/fuzz/%: $(B)/tests/fuzz/%_fuzz.o $(B)/libsluice.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -fsanitize=fuzzer $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/fuzz/%-replay: $(B)/tests/fuzz/%_fuzz.o $(B)/tests/fuzz/replay.o $(B)/libsluice.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

# ---- look at it ----
demo: ## the main job on a captured 8-GPU host with a stand-in kubelet
	@deploy/deps.sh $(PACKAGES)
	@$(MAKE) FLAVOUR=debug bins run-demo
bench: ## the figures of docs/benchmarks.md; PEER=/path/to/binary measures a peer beside it
	@deploy/deps.sh $(PACKAGES)
	@$(MAKE) FLAVOUR=release bins run-bench

# ---- keep it ----
lint: ## warnings as errors (gcc, clang), direction of dependencies, format, cppcheck, shellcheck, documents and more
	@$(MAKE) deps-lint
	@$(MAKE) FLAVOUR=debug SUFFIX=-werror WERROR=-Werror bins
	@$(MAKE) FLAVOUR=debug SUFFIX=-clang CC=clang WERROR=-Werror bins
	@tests/lint/lint.sh
format: ## clang-format over the sources (CHECK=1: only says what it would change)
	@deploy/deps.sh clang-format
	@clang-format $(if $(CHECK),--dry-run -Werror,-i) $(SOURCES) $(wildcard pkg/*/*.h cmd/*/*.h tests/*/*.h tests/unit/*/*.h)
compdb: export COMMAND = $(CC) $(CPPFLAGS) -Itests/fakekubelet -Itests/unit $(CFLAGS) $(WARN)
compdb: $(GEN_C) ## compile_commands.json for editors
	@command=$$(sed 's/[\\"]/\\&/g' <<<"$$COMMAND"); { echo '['; sep=; for f in $(SOURCES); do \
	  printf '%s{"directory":"%s","file":"%s","command":"%s -c %s"}\n' "$$sep" "$(CURDIR)" "$$f" "$$command" "$$f"; sep=,; \
	  done; echo ']'; } > compile_commands.json
	@echo "wrote compile_commands.json"
coverage: ## line coverage of the unit tests (gcovr)
	@deploy/deps.sh $(PACKAGES) $(PACKAGES_test) gcovr
	@$(MAKE) FLAVOUR=coverage run-units
	@gcovr -r . --object-directory build/coverage -f 'pkg/' --print-summary -o build/coverage/coverage.txt && tail -5 build/coverage/coverage.txt

install: build ## install below DESTDIR/PREFIX
	@$(MAKE) install-all
BIN_DIR ?= build/release$(CROSS)/bin
# The programs that print the help that the completions are made of run here.
HELP_DIR ?= $(if $(CROSS),build/release/bin,$(BIN_DIR))
STRIP ?= strip
ZSH_DIR ?= share/zsh/site-functions
install-all: install-docs
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin
	install -s --strip-program=$(STRIP) -m 755 $(BIN_DIR)/sluiced $(BIN_DIR)/sluice-hand $(DESTDIR)$(PREFIX)/sbin/
	ln -sf ../sbin/sluiced $(DESTDIR)$(PREFIX)/bin/sluicectl
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,lib/systemd/system share/bash-completion/completions $(ZSH_DIR) share/fish/vendor_completions.d)
	sed 's|=/usr/sbin/|=$(PREFIX)/sbin/|' deploy/systemd/sluiced.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/sluiced.service
	for p in sluiced sluicectl; do \
	  deploy/completions/generate.sh $(HELP_DIR) bash $$p > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$p && \
	  deploy/completions/generate.sh $(HELP_DIR) zsh $$p > $(DESTDIR)$(PREFIX)/$(ZSH_DIR)/_$$p && \
	  deploy/completions/generate.sh $(HELP_DIR) fish $$p > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/$$p.fish || exit; done
	chmod 644 $(addprefix $(DESTDIR)$(PREFIX)/,lib/systemd/system/sluiced.service $(foreach p,sluiced sluicectl,\
	  share/bash-completion/completions/$(p) $(ZSH_DIR)/_$(p) share/fish/vendor_completions.d/$(p).fish))
# The documents lie as they do here: their links hold (lint looks).
install-docs:
	install -d $(addprefix $(DESTDIR)$(PREFIX)/share/man/,man1 man5 man8) $(DESTDIR)$(PREFIX)/share/doc/sluice/docs/decisions
	install -m 644 $(wildcard docs/man/*.1) $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 $(wildcard docs/man/*.8) $(DESTDIR)$(PREFIX)/share/man/man8/
	awk -v version=$(VERSION) -f docs/man/sluice-config.5.awk docs/config.md > $(DESTDIR)$(PREFIX)/share/man/man5/sluice-config.5
	chmod 644 $(DESTDIR)$(PREFIX)/share/man/man5/sluice-config.5
	install -m 644 LICENSE COPYRIGHT $(wildcard *.md) $(DESTDIR)$(PREFIX)/share/doc/sluice/
	install -m 644 $(wildcard docs/*.md) $(DESTDIR)$(PREFIX)/share/doc/sluice/docs/
	install -D -m 644 api/node/v1/node.proto $(DESTDIR)$(PREFIX)/share/doc/sluice/api/node/v1/node.proto
	install -m 644 $(wildcard docs/decisions/*.md) $(DESTDIR)$(PREFIX)/share/doc/sluice/docs/decisions/
deb: build ## the Debian package: build/deb/sluice_VERSION_ARCH.deb
	$(if $(CROSS),@env -u PKG_CONFIG_LIBDIR -u STRIP $(MAKE) ARCH=$(HOST_ARCH) build)
	@DEB_ARCH=$(ARCH) HELP_DIR=$(HELP_DIR) deploy/deb/build.sh $(BIN_DIR) build/deb
clean: ## remove build/
	rm -rf build compile_commands.json

.PHONY: help deps deps-lint build bins check test test-all test-unit run-units test-unit-clang test-tsan run-tsan fuzz run-fuzz demo bench \
        lint format compdb coverage install install-all install-docs deb clean ask
.SECONDARY:
include deploy/image/image.mk
-include $(wildcard tests/*/*.mk)
-include $(shell find $(B) -name '*.d' 2>/dev/null)
