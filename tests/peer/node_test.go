// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"sluice.dev/sluice/tests/peer/api/nodev1"
	"sluice.dev/sluice/tests/peer/rig"
)

// node is a client of the node API of one sluiced.
type node struct {
	r    *rig.Rig
	conn *grpc.ClientConn
}

func dialNode(t *testing.T, r *rig.Rig) *node {
	t.Helper()
	path := filepath.Join(r.Dir, "run", "node.sock")
	for end := time.Now().Add(rig.Soon); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &node{r, conn}
}

func (n *node) ask(method string, request, response proto.Message) error {
	return n.conn.Invoke(n.r.Context(), "/sluice.node.v1."+method, request, response)
}

func (n *node) explain(t *testing.T, device string) *nodev1.NodeExplainResponse {
	t.Helper()
	rs := &nodev1.NodeExplainResponse{}
	if err := n.ask("Node/NodeExplain", &nodev1.NodeExplainRequest{Device: device}, rs); err != nil {
		t.Fatal(err)
	}
	return rs
}

func TestIdentitySaysWhoAnswersAndWhetherItIsReady(t *testing.T) {
	r := start(t, "l40s-8", onAllocate, true)
	r.Ready(l40s, 8)
	n := dialNode(t, r)
	info, ready := &nodev1.GetPluginInfoResponse{}, &nodev1.ProbeResponse{}
	if err := n.ask("Identity/GetPluginInfo", &nodev1.GetPluginInfoRequest{}, info); err != nil {
		t.Fatal(err)
	}
	if info.Name != "sluice.dev" || info.VendorVersion == "" || info.Manifest["api"] != "sluice.node.v1" || info.Manifest["simulated"] != "true" {
		t.Errorf("info: %v", info)
	}
	if err := n.ask("Identity/Probe", &nodev1.ProbeRequest{}, ready); err != nil || !ready.Ready || ready.WhyNot != "" {
		t.Errorf("probe: %v, %v", ready, err)
	}
}

func TestDevicesComeInPagesWithPresenceOfWhatMayBeUnknown(t *testing.T) {
	r := start(t, "l40s-8", onAllocate, true)
	r.Ready(l40s, 8)
	n := dialNode(t, r)
	var devices []*nodev1.Device
	rq, pages := &nodev1.NodeListDevicesRequest{PageSize: 3}, 0
	for {
		rs := &nodev1.NodeListDevicesResponse{}
		if err := n.ask("Node/NodeListDevices", rq, rs); err != nil {
			t.Fatal(err)
		}
		if (rs.Host != nil) != (pages == 0) {
			t.Errorf("page %d: host %v", pages, rs.Host)
		}
		devices = append(devices, rs.Devices...)
		pages++
		if rq.PageToken = rs.NextPageToken; rq.PageToken == "" {
			break
		}
	}
	if len(devices) != 8 || pages != 3 {
		t.Fatalf("%d devices on %d pages", len(devices), pages)
	}
	d := devices[0]
	if d.Id != "0000:18:00.0" || d.State != "healthy" || d.Reason != nil || !d.NeedsBind || d.GetRule() != 1 || d.RuleKnown == nil {
		t.Errorf("device: %v", d)
	}
	// Node 0 is a value, not the lack of one.
	if d.NumaNodeKnown == nil || d.GetNumaNode() != 0 || d.GetIommuGroup() != 23 {
		t.Errorf("numbers: %v", d)
	}
}

// What a script reads from sluicectl and a program over the socket has one shape.
func TestTheJSONOfSluicectlHasTheNamesOfTheContract(t *testing.T) {
	r := start(t, "l40s-8", onAllocate, true)
	r.Ready(l40s, 8)
	dialNode(t, r)
	for verb, message := range map[string]proto.Message{"inventory": &nodev1.NodeListDevicesResponse{}, "explain": &nodev1.NodeExplainResponse{}} {
		args := []string{verb, "--run-dir", filepath.Join(r.Dir, "run"), "-o", "json"}
		if verb == "explain" {
			args = append(args, "0000:18:00.0")
		}
		out, err := exec.Command(filepath.Join(os.Getenv("SLUICE_BIN"), "sluicectl"), args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		tree := map[string]any{}
		if err := json.Unmarshal(out, &tree); err != nil {
			t.Fatal(err)
		}
		if verb == "inventory" {
			tree["next_page_token"] = nil // all pages are one there
		}
		sameNames(t, verb, message.ProtoReflect().Descriptor(), tree)
	}
}

func sameNames(t *testing.T, where string, message protoreflect.MessageDescriptor, tree map[string]any) {
	t.Helper()
	fields := message.Fields()
	if fields.Len() != len(tree) {
		t.Errorf("%s has %d keys, the message %d fields", where, len(tree), fields.Len())
	}
	for i := range fields.Len() {
		field := fields.Get(i)
		value, ok := tree[string(field.Name())]
		if !ok {
			t.Errorf("%s has no %s", where, field.Name())
		}
		if list, isList := value.([]any); isList && len(list) > 0 {
			value = list[0]
		}
		if object, isObject := value.(map[string]any); isObject {
			sameNames(t, where+"."+string(field.Name()), field.Message(), object)
		}
	}
}

func TestExplainHasThePlanStepByStep(t *testing.T) {
	r := start(t, "l40s-8", onAllocate, true)
	r.Ready(l40s, 8)
	n := dialNode(t, r)
	rs := n.explain(t, "0000:18:00.0")
	var kinds []string
	for _, step := range rs.Allocate.Steps {
		if step.Acts {
			kinds = append(kinds, step.Kind)
		}
	}
	if rs.Allocate.Refusal != nil || len(rs.Allocate.Cards) != 1 || len(kinds) < 3 || kinds[len(kinds)-1] != "probe" {
		t.Errorf("plan: %v", rs.Allocate)
	}
	if rs.Group == nil || !rs.Group.Viable || rs.Pool.GetHealthy() != 8 || rs.Rule.GetBind() != "on-allocate" || !rs.Holders.GetComplete() {
		t.Errorf("explained: %v", rs)
	}
	err := n.ask("Node/NodeExplain", &nodev1.NodeExplainRequest{Device: "18:00.0"}, &nodev1.NodeExplainResponse{})
	wantCode(t, err, codes.NotFound, "near: 0000:18:00.0")
	wantCode(t, n.ask("Node/NodePrepare", &nodev1.NodeExplainRequest{}, &nodev1.NodeExplainResponse{}), codes.Unimplemented, "")
}

func TestACordonIsHeardByKubeletAndShownWithItsNote(t *testing.T) {
	r := start(t, "l40s-8", onAllocate, true)
	r.Ready(l40s, 8)
	n := dialNode(t, r)
	held, freed := &nodev1.NodeCordonResponse{}, &nodev1.NodeUncordonResponse{}
	if err := n.ask("Node/NodeCordon", &nodev1.NodeCordonRequest{Target: "0000:18:00.0", Note: "für später"}, held); err != nil {
		t.Fatal(err)
	}
	if len(held.Devices) != 1 {
		t.Errorf("held: %v", held)
	}
	r.Ready(l40s, 7)
	rs := n.explain(t, "0000:18:00.0")
	if rs.Cordon.GetNote() != "für später" || rs.Device.Reason.GetWord() != "cordoned" || rs.Device.State != "unhealthy" {
		t.Errorf("explained: %v", rs)
	}
	if err := n.ask("Node/NodeUncordon", &nodev1.NodeUncordonRequest{Target: "0000:18:00.0"}, freed); err != nil {
		t.Fatal(err)
	}
	r.Ready(l40s, 8)
	wantCode(t, n.ask("Node/NodeUncordon", &nodev1.NodeUncordonRequest{Target: "0000:18:00.0"}, freed), codes.NotFound, "not cordoned")
}
