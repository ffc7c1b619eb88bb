# sluiced against grpc-go, an independent implementation (Go >= 1.26; skipped with the reason where it is missing).
test-peer: ## sluiced against grpc-go with kubelet's dial options (needs Go >= 1.26)
	@$(MAKE) FLAVOUR=asan run-peer
run-peer: $(B)/bin/sluiced $(B)/bin/sluice-hand $(B)/bin/sluicectl
	@SLUICE_BIN=$(CURDIR)/$(B)/bin tests/gostage.sh test-peer peer .
# Made again after a change of api/; protoc-gen-go is the one of go.mod's google.golang.org/protobuf.
peer-api:
	@cd tests/peer && GOBIN=$(CURDIR)/build/gobin go install google.golang.org/protobuf/cmd/protoc-gen-go && \
	protoc --plugin=$(CURDIR)/build/gobin/protoc-gen-go --proto_path=../../api/kubelet --proto_path=../../api/node/v1 --go_out=. --go_opt=module=sluice.dev/sluice/tests/peer \
	  --go_opt=Mdeviceplugin.proto=sluice.dev/sluice/tests/peer/api/deviceplugin \
	  --go_opt=Mpluginregistration.proto=sluice.dev/sluice/tests/peer/api/pluginregistration \
	  --go_opt=Mnode.proto=sluice.dev/sluice/tests/peer/api/nodev1 deviceplugin.proto pluginregistration.proto node.proto
# A Go client for the bench: $(B)/bin/go-bench (see tests/peer/cmd/bench).
$(B)/bin/go-bench: $(wildcard tests/peer/cmd/bench/*.go tests/peer/kubelet/*.go)
	@mkdir -p $(@D)
	$(call SAY,GO  $@)
	$(Q)cd tests/peer && GOTOOLCHAIN=local GOFLAGS=-mod=readonly CGO_ENABLED=0 go build -o $(CURDIR)/$@ ./cmd/bench
.PHONY: test-peer run-peer peer-api
