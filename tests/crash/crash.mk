# Crash everywhere: the daemon, its hand or both are killed at every point of every kind of plan (tests/crash/README.md).
# sluiced-held and sluice-hand-held are the flavour's own objects, linked with points around some calls between them.
CRASH_DIR := tests/crash
CRASH_HOLDS := $(B)/$(CRASH_DIR)/hold.o $(B)/$(CRASH_DIR)/hold_hand.o $(B)/$(CRASH_DIR)/hold_daemon.o
CRASH_WRAP := -Wl,--wrap=zygote_main,--wrap=worker_execute,--wrap=wire_send,--wrap=kernel_write_sys,--wrap=kernel_write_proc
CRASH_WRAP_DAEMON := -Wl,--wrap=records_open,--wrap=records_put,--wrap=records_remove,--wrap=renameat,--wrap=unlinkat
CRASH_O := $(patsubst %.c,$(B)/%.o,$(filter-out $(CRASH_DIR)/hold%.c,$(wildcard $(CRASH_DIR)/*.c))) $(B)/tests/sim/rig.o

$(CRASH_O): override CPPFLAGS += -Itests/fakekubelet -Itests/unit -Itests/sim
$(B)/bin/sluiced-held: $(patsubst %.c,$(B)/%.o,$(wildcard cmd/sluiced/*.c)) $(B)/$(CRASH_DIR)/hold.o $(B)/$(CRASH_DIR)/hold_daemon.o $(B)/libsluice.a $(STATIC_LIBS)
	@mkdir -p $(@D)
	$(call SAY,LD  $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(LDFLAGS_sluiced) $(CRASH_WRAP_DAEMON) -o $@ $(filter %.o %/libsluice.a,$^) $(LIBS) $(QUIET_LD)
# The same, and what no pod has is taken back at once.
CRASH_QUICK_C := pkg/kubelet/podresources.c pkg/core/claim_life.c
$(B)/held-quick/%.o: %.c tests/crash/quick.h | $(GEN_C)
	@mkdir -p $(@D)
	$(call SAY,CC  $< (held, quick pods))
	$(Q)$(CC) $(CPPFLAGS) -include tests/crash/quick.h $(CFLAGS) $(WARN) -MMD -MP -c $< -o $@
$(B)/bin/sluiced-held-quick: $(patsubst %.c,$(B)/%.o,$(wildcard cmd/sluiced/*.c)) $(B)/$(CRASH_DIR)/hold.o $(B)/$(CRASH_DIR)/hold_daemon.o $(CRASH_QUICK_C:%.c=$(B)/held-quick/%.o) $(B)/libsluice.a $(STATIC_LIBS)
	@mkdir -p $(@D)
	$(call SAY,LD  $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(LDFLAGS_sluiced) $(CRASH_WRAP_DAEMON) -o $@ $(filter %.o %/libsluice.a,$^) $(LIBS) $(QUIET_LD)
$(B)/bin/sluice-hand-held: $(patsubst %.c,$(B)/%.o,$(wildcard cmd/sluice-hand/*.c)) $(B)/$(CRASH_DIR)/hold.o $(B)/$(CRASH_DIR)/hold_hand.o $(B)/libsluice.a $(STATIC_LIBS)
	@mkdir -p $(@D)
	$(call SAY,LD  $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(CRASH_WRAP) -o $@ $(filter %.o %/libsluice.a,$^) $(LIBS) $(QUIET_LD)
# The objects of release, linked dynamically: cmocka is there as a shared library only.
$(B)/$(CRASH_DIR)/crash: $(CRASH_O) $(B)/libfakekubelet.a $(B)/libsluice.a
	$(call SAY,LD  $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(B)/libfakekubelet.a $(B)/libsluice.a -lcmocka $(LIBS)

CRASH_PROGRAMS := sluiced-held sluiced-held-quick sluice-hand-held sluicectl
CRASH_EVERY ?= 40
test-crash: ## kill daemon, hand or both at the points of every kind of plan: a sample (CRASH_EVERY=N)
	@$(MAKE) crash-release CRASH_NAME=$@
test-crash-all: ## the same at every point, one victim each (CRASH_EVERY=1: every victim at every point, more than half an hour)
	@$(MAKE) crash-release CRASH_NAME=$@ CRASH_EVERY=$(if $(filter file,$(origin CRASH_EVERY)),point,$(CRASH_EVERY))
test-crash-asan: ## the same under ASan and UBSan, a smaller sample
	@$(MAKE) FLAVOUR=asan run-crash CRASH_NAME=$@ CRASH_EVERY=150
crash-release:
	@$(MAKE) FLAVOUR=release $(CRASH_PROGRAMS:%=build/release/bin/%)
	@$(MAKE) FLAVOUR=release LINK=dynamic run-crash
run-crash: $(B)/$(CRASH_DIR)/crash $(if $(filter asan,$(FLAVOUR)),$(CRASH_PROGRAMS:%=$(B)/bin/%))
	@SLUICE_BIN=$(B)/bin CRASH_EVERY=$(CRASH_EVERY) $(B)/$(CRASH_DIR)/crash $(CRASH_NAME)
.PHONY: test-crash test-crash-all test-crash-asan crash-release run-crash
