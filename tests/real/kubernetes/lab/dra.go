package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	resource "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/dynamic-resource-allocation/resourceslice"
)

// A driver of resource claims without devices: each of its GPUs has an attribute "uuid", and a container with a claim on it gets that
// UUID as NVIDIA_VISIBLE_DEVICES, by a CDI file.
type fakeDriver struct{ name string }

func (driver *fakeDriver) kind() string { return driver.name + "/gpu" }

func (driver *fakeDriver) PrepareResourceClaims(_ context.Context, claims []*resource.ResourceClaim) (map[types.UID]kubeletplugin.PrepareResult, error) {
	prepared := make(map[types.UID]kubeletplugin.PrepareResult, len(claims))
	for _, claim := range claims {
		var result kubeletplugin.PrepareResult
		for _, given := range claim.Status.Allocation.Devices.Results {
			if given.Driver != driver.name {
				continue
			}
			result.Devices = append(result.Devices, kubeletplugin.Device{
				Requests: []string{given.Request}, PoolName: given.Pool, DeviceName: given.Device,
				CDIDeviceIDs: []string{driver.kind() + "=" + given.Device}})
		}
		prepared[claim.UID] = result
	}
	return prepared, nil
}

// UnprepareResourceClaims has nothing to undo.
func (driver *fakeDriver) UnprepareResourceClaims(_ context.Context, claims []kubeletplugin.NamespacedObject) (map[types.UID]error, error) {
	undone := make(map[types.UID]error, len(claims))
	for _, claim := range claims {
		undone[claim.UID] = nil
	}
	return undone, nil
}

func (driver *fakeDriver) HandleError(_ context.Context, err error, doing string) {
	failed(doing, err)
}

func (driver *fakeDriver) WatchHealthStatus(context.Context, chan<- kubeletplugin.DeviceHealthReport) error {
	return kubeletplugin.ErrHealthNotSupported
}

// cdi writes what the runtime changes in a container for each device, and gives the devices as the scheduler knows them.
func (driver *fakeDriver) cdi(folder string, uuids []string) ([]resource.Device, error) {
	type object = map[string]any
	var devices []resource.Device
	var edits []object
	for _, uuid := range uuids {
		name := strings.ToLower(uuid)
		devices = append(devices, resource.Device{Name: name, Attributes: map[resource.QualifiedName]resource.DeviceAttribute{
			"uuid": {StringValue: &uuid}}})
		edits = append(edits, object{"name": name, "containerEdits": object{"env": []string{"NVIDIA_VISIBLE_DEVICES=" + uuid}}})
	}
	text, err := json.Marshal(object{"cdiVersion": "0.6.0", "kind": driver.kind(), "devices": edits})
	if err != nil {
		return nil, err
	}
	return devices, os.WriteFile(filepath.Join(folder, driver.name+".json"), text, 0o644)
}

// dra KUBECONFIG NODE NAME CDI-FOLDER UUID…: publishes the devices as the driver NAME's pool NODE, until it is ended.
func dra() int {
	if len(os.Args) < 6 {
		return failed("reading its arguments", os.ErrInvalid)
	}
	node, driver := os.Args[2], &fakeDriver{name: os.Args[3]}
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		return failed("reading its kubeconfig", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return failed("making a client", err)
	}
	devices, err := driver.cdi(os.Args[4], os.Args[5:])
	if err != nil {
		return failed("writing the CDI file", err)
	}
	if err := os.MkdirAll(filepath.Join("/var/lib/kubelet/plugins", driver.name), 0o755); err != nil {
		return failed("making its folder", err)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	helper, err := kubeletplugin.Start(ctx, driver, kubeletplugin.DriverName(driver.name), kubeletplugin.KubeClient(client),
		kubeletplugin.NodeName(node), kubeletplugin.HealthService(false))
	if err != nil {
		return failed("registering with kubelet", err)
	}
	defer helper.Stop()
	pool := resourceslice.Pool{Slices: []resourceslice.Slice{{Devices: devices}}}
	if err := helper.PublishResources(ctx, resourceslice.DriverResources{Pools: map[string]resourceslice.Pool{node: pool}}); err != nil {
		return failed("publishing its devices", err)
	}
	fmt.Println("published", len(devices), "devices of", driver.name)
	<-ctx.Done()
	return 0
}
