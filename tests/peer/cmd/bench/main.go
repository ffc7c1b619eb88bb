// SPDX-License-Identifier: Apache-2.0

// bench measures a device plugin as a grpc-go kubelet sees it. It serves kubelet.sock below -dir, waits until -resources
// plugins have sent a list, and prints one JSON object. The plugin is started and stopped by the caller.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	dp "sluice.dev/sluice/tests/peer/api/deviceplugin"
	"sluice.dev/sluice/tests/peer/kubelet"
)

type result struct {
	Resources        int     `json:"resources"`
	FirstListMs      float64 `json:"first_list_ms"` // all resources listed, since kubelet.sock listened
	AllocateP50Ms    float64 `json:"allocate_p50_ms"`
	AllocateP99Ms    float64 `json:"allocate_p99_ms"`
	ParallelPerS     float64 `json:"allocate_parallel_per_s,omitempty"`
	RestartMedianMs  float64 `json:"restart_median_ms,omitempty"` // kubelet.sock listens again until all have listed
	RestartWorstMs   float64 `json:"restart_worst_ms,omitempty"`
	PushLostP50Ms    float64 `json:"push_lost_p50_ms,omitempty"` // -flip is renamed away until a device is Unhealthy
	PushLostP99Ms    float64 `json:"push_lost_p99_ms,omitempty"`
	PushFoundP50Ms   float64 `json:"push_found_p50_ms,omitempty"` // and back until all are Healthy
	PushFoundP99Ms   float64 `json:"push_found_p99_ms,omitempty"`
	AllocatesRefused int     `json:"allocates_refused"`
}

var (
	dir       = flag.String("dir", "/var/lib/kubelet", "kubelet's root directory")
	resources = flag.Int("resources", 1, "wait for so many resources")
	count     = flag.Int("n", 10000, "sequential Allocates")
	parallel  = flag.Int("parallel", 0, "then as many with so many in flight")
	restarts  = flag.Int("restarts", 0, "kubelet restarts")
	flip      = flag.String("flip", "", "a file to rename away and back: a node without which a device is unhealthy")
	flips     = flag.Int("flips", 20, "how often")
	canned    = flag.String("canned", "", "only Allocates, to the server at this socket, whatever it answers")
	timeout   = flag.Duration("timeout", 60*time.Second, "for each thing that is waited for")
)

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func quantile(samples []time.Duration, q float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	slices.Sort(samples)
	return ms(samples[int(q*float64(len(samples)-1)+0.5)])
}

func allocate(p *kubelet.Plugin, id string) (time.Duration, error) {
	start := time.Now()
	_, err := p.Allocate(context.Background(), id)
	return time.Since(start), err
}

func measureAllocate(p *kubelet.Plugin, id string, res *result) {
	var samples []time.Duration
	for range 50 { // warm
		_, _ = allocate(p, id)
	}
	for range *count {
		took, err := allocate(p, id)
		if err != nil {
			res.AllocatesRefused++
			continue
		}
		samples = append(samples, took)
	}
	res.AllocateP50Ms, res.AllocateP99Ms = quantile(samples, 0.5), quantile(samples, 0.99)
}

func measureParallel(p *kubelet.Plugin, id string, res *result) {
	var wg sync.WaitGroup
	each := *count / *parallel
	start := time.Now()
	for range *parallel {
		wg.Go(func() {
			for range each {
				_, _ = allocate(p, id)
			}
		})
	}
	wg.Wait()
	res.ParallelPerS = float64(each**parallel) / time.Since(start).Seconds()
}

func measureRestarts(k *kubelet.Kubelet, res *result) error {
	var samples []time.Duration
	for range *restarts {
		if err := k.Restart(); err != nil {
			return err
		}
		start := time.Now()
		if err := k.WaitResources(*resources, *timeout); err != nil {
			return err
		}
		samples = append(samples, time.Since(start))
	}
	res.RestartMedianMs, res.RestartWorstMs = quantile(samples, 0.5), quantile(samples, 1)
	return nil
}

func measureFlips(k *kubelet.Kubelet, resource string, healthy int, res *result) error {
	var lost, found []time.Duration
	away := *flip + ".away"
	for range *flips {
		for _, step := range []struct {
			from, to string
			want     func(list []*dp.Device) bool
			samples  *[]time.Duration
		}{
			{*flip, away, func(list []*dp.Device) bool { return kubelet.Healthy(list) < healthy }, &lost},
			{away, *flip, func(list []*dp.Device) bool { return kubelet.Healthy(list) == healthy }, &found},
		} {
			start := time.Now()
			if err := os.Rename(step.from, step.to); err != nil {
				return err
			}
			if _, err := k.Wait(resource, *timeout, step.want); err != nil {
				return err
			}
			*step.samples = append(*step.samples, time.Since(start))
			time.Sleep(300 * time.Millisecond) // past the window in which changes are gathered
		}
	}
	res.PushLostP50Ms, res.PushLostP99Ms = quantile(lost, 0.5), quantile(lost, 0.99)
	res.PushFoundP50Ms, res.PushFoundP99Ms = quantile(found, 0.5), quantile(found, 0.99)
	return nil
}

// firstHealthy is the first device of the first plugin by name.
func firstHealthy(k *kubelet.Kubelet) (*kubelet.Plugin, string) {
	plugins := k.Plugins()
	slices.SortFunc(plugins, func(a, b *kubelet.Plugin) int { return compare(a.Resource, b.Resource) })
	for _, p := range plugins {
		list := p.List()
		slices.SortFunc(list, func(a, b *dp.Device) int { return compare(a.ID, b.ID) })
		for _, d := range list {
			if d.Health == "Healthy" {
				return p, d.ID
			}
		}
	}
	return nil, ""
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// measureCanned is what the client itself and the socket cost.
func measureCanned(path string) (*result, error) {
	conn, err := kubelet.Dial(path)
	if err != nil {
		return nil, err
	}
	res := &result{}
	measureAllocate(&kubelet.Plugin{Conn: conn}, "0000:3b:00.0", res)
	if res.AllocatesRefused > 0 {
		return nil, fmt.Errorf("%d Allocates were not answered", res.AllocatesRefused)
	}
	return res, conn.Close()
}

func run() (*result, error) {
	if *canned != "" {
		return measureCanned(*canned)
	}
	k, err := kubelet.Start(*dir)
	if err != nil {
		return nil, err
	}
	defer k.Stop()
	res := &result{Resources: *resources}
	start := time.Now()
	if err := k.WaitResources(*resources, *timeout); err != nil {
		return nil, err
	}
	res.FirstListMs = ms(time.Since(start))
	p, id := firstHealthy(k)
	if p == nil {
		return nil, fmt.Errorf("no healthy device")
	}
	measureAllocate(p, id, res)
	if *parallel > 0 {
		measureParallel(p, id, res)
	}
	if *restarts > 0 {
		if err := measureRestarts(k, res); err != nil {
			return nil, err
		}
	}
	if *flip != "" {
		return res, measureFlips(k, p.Resource, kubelet.Healthy(p.List()), res)
	}
	return res, nil
}

func main() {
	flag.Parse()
	res, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	out, _ := json.Marshal(res)
	fmt.Println(string(out))
}
