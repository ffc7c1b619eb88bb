# The demo: product binaries, a stand-in kubelet, a captured host.
$(B)/tests/demo/demo.o: CPPFLAGS += -Itests/fakekubelet
$(B)/bin/demo: $(B)/tests/demo/demo.o $(B)/libfakekubelet.a $(B)/libsluice.a $(STATIC_LIBS)
	@mkdir -p $(@D)
	$(call SAY,LD  $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o %.a,$(filter-out $(STATIC_LIBS),$^)) $(LIBS)
run-demo: $(B)/bin/demo $(BINS)
	@$(B)/bin/demo $(B)/bin
.PHONY: run-demo
