# Fail everywhere: each access of the daemon to the file system fails once, with each error (tests/fail/README.md). sluiced-failing is the
# flavour's own objects, but for base/fs.c, whose system calls pass access.c, and for those that tell what is tried again when.
FAIL_DIR := tests/fail
FAIL_HURRIED_C := pkg/core/claim_life.c $(wildcard pkg/kubelet/*.c pkg/claims/*.c) pkg/agent/bind.c pkg/agent/agent.c
FAIL_O := $(patsubst %.c,$(B)/%.o,$(filter-out $(FAIL_DIR)/access.c,$(wildcard $(FAIL_DIR)/*.c))) $(B)/tests/crash/kept.o $(B)/tests/crash/picture.o \
          $(B)/tests/sim/rig.o

$(FAIL_O): override CPPFLAGS += -Itests/fakekubelet -Itests/unit -Itests/sim -Itests/crash
$(B)/failing/pkg/base/fs.o: pkg/base/fs.c $(FAIL_DIR)/access.h | $(GEN_C)
	@mkdir -p $(@D)
	$(call SAY,CC  $< (failing))
	$(Q)$(CC) $(CPPFLAGS) -include $(FAIL_DIR)/access.h $(CFLAGS) $(WARN) -MMD -MP -c $< -o $@
$(FAIL_HURRIED_C:%.c=$(B)/failing/%.o): $(B)/failing/%.o: %.c $(FAIL_DIR)/hurry.h | $(GEN_C)
	@mkdir -p $(@D)
	$(call SAY,CC  $< (hurried))
	$(Q)$(CC) $(CPPFLAGS) -include $(FAIL_DIR)/hurry.h $(CFLAGS) $(WARN) -MMD -MP -c $< -o $@
$(B)/bin/sluiced-failing: $(patsubst %.c,$(B)/%.o,$(wildcard cmd/sluiced/*.c)) $(B)/$(FAIL_DIR)/access.o $(B)/failing/pkg/base/fs.o \
                          $(FAIL_HURRIED_C:%.c=$(B)/failing/%.o) $(B)/libsluice.a $(STATIC_LIBS)
	@mkdir -p $(@D)
	$(call SAY,LD  $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(LDFLAGS_sluiced) -Wl,--wrap=sim_prepare,--wrap=sim_open,--wrap=sim_settle -o $@ $(filter %.o %/libsluice.a,$^) $(LIBS) $(QUIET_LD)
# The objects of release, linked dynamically: cmocka is there as a shared library only.
$(B)/$(FAIL_DIR)/sweep: $(FAIL_O) $(B)/libfakekubelet.a $(B)/libsluice.a
	$(call SAY,LD  $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(B)/libfakekubelet.a $(B)/libsluice.a -lcmocka $(LIBS)

FAIL_PROGRAMS := sluiced-failing sluice-hand sluicectl
FAIL_EVERY ?= 40
test-fail: ## each access of the daemon to the file system fails once, with each error: a sample (FAIL_EVERY=N)
	@$(MAKE) fail-release FAIL_NAME=$@
test-fail-all: ## the same, every access once, the errors in turn (FAIL_EVERY=1: with each)
	@$(MAKE) fail-release FAIL_NAME=$@ FAIL_EVERY=$(if $(filter file,$(origin FAIL_EVERY)),6,$(FAIL_EVERY))
fail-release:
	@$(MAKE) FLAVOUR=release $(FAIL_PROGRAMS:%=build/release/bin/%)
	@$(MAKE) FLAVOUR=release LINK=dynamic run-fail
run-fail: $(B)/$(FAIL_DIR)/sweep
	@SLUICE_BIN=$(B)/bin FAIL_EVERY=$(FAIL_EVERY) $(B)/$(FAIL_DIR)/sweep $(FAIL_NAME)
.PHONY: test-fail test-fail-all fail-release run-fail
