# The daemon on captured hosts against the fake kubelet.
SIM_DIR := tests/sim
SIM_TESTS := $(patsubst %.c,$(B)/%,$(sort $(wildcard $(SIM_DIR)/*_test.c)))
SIM_PROGRAMS := $(B)/bin/sluiced $(B)/bin/sluice-hand $(B)/bin/sluicectl

$(patsubst %.c,$(B)/%.o,$(wildcard $(SIM_DIR)/*.c)): override CPPFLAGS += -Itests/fakekubelet -Itests/unit
$(B)/$(SIM_DIR)/%_test: $(B)/$(SIM_DIR)/%_test.o $(B)/$(SIM_DIR)/rig.o $(B)/libfakekubelet.a $(B)/libsluice.a
	$(call SAY,LD  $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(B)/libfakekubelet.a $(B)/libsluice.a -lcmocka $(LIBS)

# sluiced without the check that a Register's answer still concerns this kubelet: the test of the lost registration must
# see it fail. Only pkg/kubelet is compiled again.
SIM_EPOCH_O := $(patsubst %.c,$(B)/epoch/%.o,$(wildcard pkg/kubelet/*.c))
$(B)/epoch/%.o: %.c | $(GEN_C)
	@mkdir -p $(@D)
	$(call SAY,CC  $< (no epoch check))
	$(Q)$(CC) $(CPPFLAGS) -DSLUICE_BREAK_EPOCH_CHECK $(CFLAGS) $(WARN) -MMD -MP -c $< -o $@
$(B)/bin/sluiced-no-epoch: $(patsubst %.c,$(B)/%.o,$(wildcard cmd/sluiced/*.c)) $(SIM_EPOCH_O) $(B)/libsluice.a
	$(call SAY,LD  $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(LDFLAGS_sluiced) -o $@ $(filter %.o,$^) $(B)/libsluice.a $(LIBS)

# sluiced that takes kubelet's limit of a list (4 MiB, some 100 000 devices) for a small one.
$(B)/small-list/pkg/kubelet/plugin.o: pkg/kubelet/plugin.c tests/sim/small_list.h | $(GEN_C)
	@mkdir -p $(@D)
	$(call SAY,CC  $< (small list))
	$(Q)$(CC) $(CPPFLAGS) -include tests/sim/small_list.h $(CFLAGS) $(WARN) -MMD -MP -c $< -o $@
$(B)/bin/sluiced-small-list: $(patsubst %.c,$(B)/%.o,$(wildcard cmd/sluiced/*.c)) $(B)/small-list/pkg/kubelet/plugin.o $(B)/libsluice.a
	$(call SAY,LD  $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(LDFLAGS_sluiced) -o $@ $(filter %.o,$^) $(B)/libsluice.a $(LIBS)

# sluiced in a hurry: pods are asked for ten times a second, and the minutes of a claim's life are seconds.
SIM_PODS_C := pkg/kubelet/podresources.c pkg/core/claim_life.c
$(B)/quick-pods/%.o: %.c tests/sim/quick_pods.h | $(GEN_C)
	@mkdir -p $(@D)
	$(call SAY,CC  $< (quick pods))
	$(Q)$(CC) $(CPPFLAGS) -include tests/sim/quick_pods.h $(CFLAGS) $(WARN) -MMD -MP -c $< -o $@
$(B)/bin/sluiced-quick-pods: $(patsubst %.c,$(B)/%.o,$(wildcard cmd/sluiced/*.c)) $(SIM_PODS_C:%.c=$(B)/quick-pods/%.o) $(B)/libsluice.a
	$(call SAY,LD  $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(LDFLAGS_sluiced) -o $@ $(filter %.o,$^) $(B)/libsluice.a $(LIBS) $(QUIET_LD)

test-sim: ## sluiced on captured hosts over the simulated kernel, against the fake kubelet
	@$(MAKE) FLAVOUR=asan run-sim
run-sim: $(SIM_TESTS) $(SIM_PROGRAMS) $(B)/bin/sluiced-no-epoch $(B)/bin/sluiced-small-list $(B)/bin/sluiced-quick-pods $(B)/$(FAKE_DIR)/selftest $(B)/bin/fakekubelet
	@SLUICE_BIN=$(B)/bin tests/unit/run.sh test-sim $(if $(UNIT),$(filter %/$(UNIT)_test,$(SIM_TESTS)),$(B)/$(FAKE_DIR)/selftest $(SIM_TESTS))
.PHONY: test-sim run-sim
