# Sluice. `make help` lists the verbs. One non-recursive Makefile; objects and generated code live under build/<flavour>/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
V ?= 0
Q := $(if $(filter 1,$(V)),,@)
CC ?= gcc
FLAVOUR ?= debug
B := build/$(FLAVOUR)
VERSION := $(shell cat VERSION 2>/dev/null || echo 0.1.0)

WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wwrite-strings -Wvla -Wimplicit-fallthrough
CPPFLAGS += -D_GNU_SOURCE -Ipkg -I$(B)/gen -DSLUICE_VERSION='"$(VERSION)"'
CFLAGS_debug := -O1 -g
CFLAGS_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
CFLAGS_tsan := -O1 -g -fsanitize=thread
CFLAGS_release := -O2 -g -fstack-protector-strong -D_FORTIFY_SOURCE=2 -ffunction-sections -fdata-sections -fPIE
CFLAGS += -std=gnu11 $(CFLAGS_$(FLAVOUR))
LDFLAGS += $(filter -fsanitize=%,$(CFLAGS_$(FLAVOUR))) -Wl,--as-needed
LIBS := -lgrpc_unsecure -lgpr -lprotobuf-c -luv -lyaml -ljansson -lpci -lsmartcols -lpthread

PROTOS := $(wildcard api/kubelet/*.proto api/node/v1/*.proto)
GEN_C := $(patsubst %.proto,$(B)/gen/%.pb-c.c,$(notdir $(PROTOS)))
vpath %.proto api/kubelet api/node/v1
PKG_C := $(wildcard pkg/*/*.c)
PKG_O := $(PKG_C:%.c=$(B)/%.o) $(GEN_C:.c=.o)
CMDS := $(notdir $(patsubst %/,%,$(dir $(wildcard cmd/*/main.c))))
BINS := $(CMDS:%=$(B)/bin/%)
UNIT_C := $(wildcard tests/unit/*/*_test.c)
UNITS := $(UNIT_C:tests/%.c=$(B)/tests/%)

help: ## list the verbs
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: $(BINS) ## build sluiced, sluice-hand and sluicectl

$(B)/gen/%.pb-c.c: %.proto
	@mkdir -p $(@D)
	@echo "  GEN $@"
	$(Q)protoc-c --proto_path=$(<D) --c_out=$(@D) $<
$(B)/gen/%.pb-c.o: $(B)/gen/%.pb-c.c
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -w -MMD -MP -c $< -o $@
$(B)/%.o: %.c | $(GEN_C)
	@mkdir -p $(@D)
	@echo "  CC $<"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(WARN) $(WERROR) -MMD -MP -c $< -o $@
$(B)/libsluice.a: $(PKG_O)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^
define CMD_RULE
$(B)/bin/$(1): $(patsubst %.c,$(B)/%.o,$(wildcard cmd/$(1)/*.c)) $(B)/libsluice.a
	@mkdir -p $$(@D)
	@echo "  LD $$@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $$@ $$^ $(LIBS)
endef
$(foreach c,$(CMDS),$(eval $(call CMD_RULE,$(c))))
$(B)/tests/unit/%: $(B)/tests/unit/%.o $(B)/libsluice.a
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS)

test-unit: ## unit tests (cmocka) under ASan and UBSan; UNIT=core/bdf runs one
	@$(MAKE) --no-print-directory FLAVOUR=asan run-units
run-units: $(if $(UNIT),$(B)/tests/unit/$(UNIT)_test,$(UNITS))
	@set -e; for t in $^; do $$t; done

clean: ## remove build/
	rm -rf build
.PHONY: help build test-unit run-units clean
.SECONDARY:
-include $(wildcard tests/*/*.mk)
-include $(shell find $(B) -name '*.d' 2>/dev/null)
