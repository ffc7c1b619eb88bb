# The fake kubelet: a library for tests, a program for people, and its own test. Independent of libsluice but for pkg/base.
FAKE_DIR := tests/fakekubelet
FAKE_O := $(patsubst %.c,$(B)/%.o,$(filter-out $(FAKE_DIR)/main.c $(FAKE_DIR)/selftest%.c $(FAKE_DIR)/plugin.c,$(wildcard $(FAKE_DIR)/*.c)))
FAKE_BASE_O := $(patsubst %.c,$(B)/%.o,$(wildcard pkg/base/*.c))
FAKE_GEN_O := $(B)/gen/deviceplugin.pb-c.o $(B)/gen/pluginregistration.pb-c.o $(B)/gen/podresources.pb-c.o
FAKE_LIBS := -lgrpc_unsecure -lgpr -lprotobuf-c -lpthread

$(FAKE_O) $(B)/$(FAKE_DIR)/main.o $(B)/$(FAKE_DIR)/plugin.o: override CPPFLAGS += -I$(FAKE_DIR)
$(patsubst %.c,$(B)/%.o,$(wildcard $(FAKE_DIR)/selftest*.c)): override CPPFLAGS += -I$(FAKE_DIR) -Itests/unit
$(B)/libfakekubelet.a: $(FAKE_O) $(FAKE_BASE_O) $(FAKE_GEN_O)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^
$(B)/bin/fakekubelet: $(B)/$(FAKE_DIR)/main.o $(B)/libfakekubelet.a
	@mkdir -p $(@D)
	@echo "  LD $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(FAKE_LIBS)
$(B)/$(FAKE_DIR)/selftest: $(patsubst %.c,$(B)/%.o,$(wildcard $(FAKE_DIR)/selftest*.c)) $(B)/$(FAKE_DIR)/plugin.o $(B)/libfakekubelet.a
	@echo "  LD $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(FAKE_LIBS)

test-fakekubelet: ## the fake kubelet's own test: every row behaves, every row catches a wrong plugin
	@$(MAKE) --no-print-directory FLAVOUR=asan run-fakekubelet
run-fakekubelet: $(B)/$(FAKE_DIR)/selftest $(B)/bin/fakekubelet
	@tests/unit/run.sh test-fakekubelet $(B)/$(FAKE_DIR)/selftest
.PHONY: test-fakekubelet run-fakekubelet
