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
$(B)/bin/sluice-hand-held: $(patsubst %.c,$(B)/%.o,$(wildcard cmd/sluice-hand/*.c)) $(B)/$(CRASH_DIR)/hold.o $(B)/$(CRASH_DIR)/hold_hand.o $(B)/libsluice.a $(STATIC_LIBS)
	@mkdir -p $(@D)
	$(call SAY,LD  $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(CRASH_WRAP) -o $@ $(filter %.o %/libsluice.a,$^) $(LIBS) $(QUIET_LD)
# The objects of release, linked dynamically: cmocka is there as a shared library only.
$(B)/$(CRASH_DIR)/crash: $(CRASH_O) $(B)/libfakekubelet.a $(B)/libsluice.a
	$(call SAY,LD  $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(B)/libfakekubelet.a $(B)/libsluice.a -lcmocka $(LIBS)

CRASH_EVERY ?= 5
test-crash: ## kill daemon, hand or both at the points of every kind of plan: each fifth run (CRASH_EVERY=N)
	@$(MAKE) crash-release CRASH_NAME=$@
test-crash-all: ## the same, every run
	@$(MAKE) crash-release CRASH_NAME=$@ CRASH_EVERY=1
test-crash-asan: ## the same under ASan and UBSan, some 200 runs
	@$(MAKE) FLAVOUR=asan run-crash CRASH_NAME=$@ CRASH_EVERY=31
crash-release:
	@$(MAKE) FLAVOUR=release build/release/bin/sluiced-held build/release/bin/sluice-hand-held
	@$(MAKE) FLAVOUR=release LINK=dynamic run-crash
run-crash: $(B)/$(CRASH_DIR)/crash $(if $(filter asan,$(FLAVOUR)),$(B)/bin/sluiced-held $(B)/bin/sluice-hand-held)
	@SLUICE_BIN=$(B)/bin CRASH_EVERY=$(CRASH_EVERY) $(B)/$(CRASH_DIR)/crash $(CRASH_NAME)
.PHONY: test-crash test-crash-all test-crash-asan crash-release run-crash
