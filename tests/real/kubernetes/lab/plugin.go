package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// A device plugin without devices: each of its GPUs is a name, which a container gets as NVIDIA_VISIBLE_DEVICES.
//
// Which there are, and which of them are ill, stands in a file: {"devices": ["GPU-…"], "unhealthy": ["GPU-…"]}. It is read at
// the start and at each SIGHUP.
type fakeGPUs struct {
	api.UnimplementedDevicePluginServer
	file  string
	stop  <-chan struct{}
	again chan struct{}
}

func (gpus *fakeGPUs) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return &api.DevicePluginOptions{}, nil
}

func (gpus *fakeGPUs) ListAndWatch(_ *api.Empty, stream grpc.ServerStreamingServer[api.ListAndWatchResponse]) error {
	for {
		devices, err := gpus.devices()
		if err != nil {
			return err
		}
		if err := stream.Send(&api.ListAndWatchResponse{Devices: devices}); err != nil {
			return err
		}
		select {
		case <-gpus.again:
		case <-stream.Context().Done():
			return nil
		case <-gpus.stop:
			return nil
		}
	}
}

func (gpus *fakeGPUs) devices() ([]*api.Device, error) {
	text, err := os.ReadFile(gpus.file)
	if err != nil {
		return nil, err
	}
	var said struct{ Devices, Unhealthy []string }
	if err := json.Unmarshal(text, &said); err != nil {
		return nil, err
	}
	health := map[string]string{}
	for _, uuid := range said.Unhealthy {
		health[uuid] = api.Unhealthy
	}
	var devices []*api.Device
	for _, uuid := range said.Devices {
		device := &api.Device{ID: uuid, Health: api.Healthy}
		if ill, known := health[uuid]; known {
			device.Health = ill
		}
		devices = append(devices, device)
	}
	return devices, nil
}

func (gpus *fakeGPUs) Allocate(_ context.Context, asked *api.AllocateRequest) (*api.AllocateResponse, error) {
	given := &api.AllocateResponse{}
	for _, container := range asked.ContainerRequests {
		given.ContainerResponses = append(given.ContainerResponses, &api.ContainerAllocateResponse{
			Envs: map[string]string{"NVIDIA_VISIBLE_DEVICES": strings.Join(container.DevicesIds, ",")}})
	}
	return given, nil
}

// plugin FOLDER RESOURCE FILE: serves in kubelet's folder of device plugins. A kubelet that starts empties that folder, so whoever starts
// kubelet again starts its plugins again.
func plugin() int {
	if len(os.Args) != 4 {
		return failed("reading its arguments", os.ErrInvalid)
	}
	folder, resource := os.Args[1], os.Args[2]
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGHUP)
	gpus := &fakeGPUs{file: os.Args[3], stop: ctx.Done(), again: make(chan struct{}, 1)}
	if _, err := gpus.devices(); err != nil {
		return failed("reading "+gpus.file, err)
	}
	own := strings.NewReplacer("/", "-").Replace(resource) + ".sock"
	if err := os.Remove(filepath.Join(folder, own)); err != nil && !os.IsNotExist(err) {
		return failed("removing its former socket", err)
	}
	listener, err := net.Listen("unix", filepath.Join(folder, own))
	if err != nil {
		return failed("listening", err)
	}
	server := grpc.NewServer()
	api.RegisterDevicePluginServer(server, gpus)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if err := register(ctx, folder, own, resource); err != nil {
		return failed("registering with kubelet", err)
	}
	fmt.Println("registered", resource)
	for {
		select {
		case <-changed:
			select {
			case gpus.again <- struct{}{}:
			default:
			}
		case err := <-served:
			return failed("serving", err)
		case <-ctx.Done():
			server.Stop()
			return 0
		}
	}
}

func register(ctx context.Context, folder, own, resource string) error {
	kubelet, err := grpc.NewClient("unix://"+filepath.Join(folder, "kubelet.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer kubelet.Close()
	_, err = api.NewRegistrationClient(kubelet).Register(ctx, &api.RegisterRequest{Version: api.Version, Endpoint: own, ResourceName: resource},
		grpc.WaitForReady(true))
	return err
}
