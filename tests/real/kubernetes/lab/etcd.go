package main

import (
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
)

// etcd FOLDER URL: a store of one member that nobody needs after a crash of the machine, so nothing is waited for on disk.
func etcd() int {
	if len(os.Args) != 3 {
		return failed("reading its arguments", os.ErrInvalid)
	}
	clients, err := url.Parse(os.Args[2])
	if err != nil {
		return failed("reading its address", err)
	}
	peers := url.URL{Scheme: clients.Scheme, Host: clients.Hostname() + ":0"}
	config := embed.NewConfig()
	config.Dir = os.Args[1]
	config.ListenClientUrls = []url.URL{*clients}
	config.AdvertiseClientUrls = config.ListenClientUrls
	config.ListenPeerUrls = []url.URL{peers}
	config.AdvertisePeerUrls = config.ListenPeerUrls
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.UnsafeNoFsync = true
	config.LogLevel = "warn"
	store, err := embed.StartEtcd(config)
	if err != nil {
		return failed("starting", err)
	}
	defer store.Close()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	select {
	case <-ended:
		return 0
	case err := <-store.Err():
		return failed("serving", err)
	}
}
