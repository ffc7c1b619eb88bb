# SPDX-License-Identifier: Apache-2.0
# The main job on a real kernel, in QEMU (tests/vm/README.md). VM=gpu,numa runs some topologies only.
VM_FLAVOUR ?= asan
VM_HOST_C := $(wildcard tests/vm/host/*.c)
VM_GUEST_C := $(wildcard tests/vm/guest/*.c)
VM_PROGRAMS = $(B)/tests/vm/vmtest $(B)/tests/vm/vfio_user $(BINS) $(B)/bin/sluiced-quick-pods

test-vm: ## the main job on a real kernel, in QEMU; VM=gpu runs one topology
	@$(MAKE) --no-print-directory FLAVOUR=$(VM_FLAVOUR) run-vm
run-vm: $(B)/tests/vm/vm-runner $(B)/tests/vm/xpci.so $(VM_PROGRAMS)
	@tests/vm/test.sh $(B) $(B)/tests/vm/vm-runner $(B)/tests/vm/xpci.so $(VM_PROGRAMS)

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
$(B)/tests/vm/guest/%.o: CPPFLAGS += -Itests/fakekubelet
$(B)/tests/vm/vmtest: $(VM_GUEST_C:%.c=$(B)/%.o) $(B)/libfakekubelet.a $(B)/libsluice.a
	$(call SAY,LD  $@)
	$(Q)$(CMOCKA_LD) -o $@ $^ $(CMOCKA_LIBS)
.PHONY: test-vm run-vm
