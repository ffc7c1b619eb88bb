# SPDX-License-Identifier: Apache-2.0
# The main job on a real kernel, in QEMU (tests/vm/README.md). VM=gpu,numa runs some topologies only.
VM_FLAVOUR ?= asan
VM_HOST_C := $(wildcard tests/vm/host/*.c)
VM_GUEST_C := $(wildcard tests/vm/guest/*.c)
VM_PROGRAMS = $(B)/tests/vm/vmtest $(B)/tests/vm/vfio_user $(BINS) $(B)/bin/sluiced-quick-pods
# To be killed (tests/crash): without sanitizers, as in that campaign; each of its many starts takes seconds under emulation with them.
VM_HELD := build/release/bin/sluiced-held-quick-pods build/release/bin/sluice-hand-held

test-vm: ## the main job on a real kernel, in QEMU; VM=gpu runs one topology
	@$(MAKE) --no-print-directory FLAVOUR=release $(VM_HELD)
	@$(MAKE) --no-print-directory FLAVOUR=$(VM_FLAVOUR) run-vm
run-vm: $(B)/tests/vm/vm-runner $(B)/tests/vm/xpci.so $(VM_PROGRAMS)
	@tests/vm/test.sh $(B) $(B)/tests/vm/vm-runner $(B)/tests/vm/xpci.so $(VM_PROGRAMS) $(VM_HELD)

$(B)/tests/vm/host/%.o: CPPFLAGS += -Itests/vm/host
$(B)/tests/vm/vm-runner: $(VM_HOST_C:%.c=$(B)/%.o) $(B)/libsluice.a
	$(call SAY,LD  $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lpthread
# Preloaded into a QEMU that is not ours: never with a sanitizer.
$(B)/tests/vm/xpci.so: tests/vm/xpci.c
	@mkdir -p $(@D)
	$(call SAY,LD  $@)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu11 -O2 -g $(WARN) -fPIC -shared -o $@ $<
$(B)/tests/vm/vfio_user: $(B)/tests/vm/vfio_user.o
	$(call SAY,LD  $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^
# sluiced-held of tests/crash, in a hurry (tests/sim/sim.mk).
$(B)/bin/sluiced-held-quick-pods: $(patsubst %.c,$(B)/%.o,$(wildcard cmd/sluiced/*.c)) $(SIM_PODS_C:%.c=$(B)/quick-pods/%.o) $(B)/$(CRASH_DIR)/hold.o $(B)/$(CRASH_DIR)/hold_daemon.o $(B)/libsluice.a
	@mkdir -p $(@D)
	$(call SAY,LD  $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(LDFLAGS_sluiced) $(CRASH_WRAP_DAEMON) -o $@ $(filter %.o %/libsluice.a,$^) $(LIBS) $(QUIET_LD)
# node_kills.c looks with that campaign's eyes.
$(B)/tests/vm/guest/%.o: CPPFLAGS += -Itests/fakekubelet -Itests/crash
$(B)/tests/vm/vmtest: $(VM_GUEST_C:%.c=$(B)/%.o) $(B)/tests/crash/held.o $(B)/tests/crash/kept.o $(B)/libfakekubelet.a $(B)/libsluice.a
	$(call SAY,LD  $@)
	$(Q)$(CMOCKA_LD) -o $@ $^ $(CMOCKA_LIBS)
.PHONY: test-vm run-vm
