// Every part of a small Kubernetes in one program, so that a test has a real cluster from nothing but the proxy of Go modules.
// The first argument names the part, what follows is the part's own command line. One process is one part.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// What each part does with its arguments, which cobra takes from os.Args.
var parts = map[string]func() int{
	"apiserver":   command(apiserver.NewAPIServerCommand),
	"controllers": command(controllers.NewControllerManagerCommand),
	"scheduler":   command(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kubelet":     command(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	"kubectl":     command(kubectl.NewDefaultKubectlCommand),
	"etcd":        etcd,
	"plugin":      plugin,
	"dra":         dra,
}

func command(of func() *cobra.Command) func() int {
	return func() int { return cli.Run(of()) }
}

// failed says what a part could not do, and is its exit status.
func failed(doing string, err error) int {
	fmt.Fprintf(os.Stderr, "kubelab %s: %s: %v\n", os.Args[0], doing, err)
	return 1
}

func main() {
	var run func() int
	if len(os.Args) > 1 {
		run = parts[os.Args[1]]
	}
	if run == nil {
		fmt.Fprintln(os.Stderr, "usage: kubelab PART ARGUMENTS, with a part of:", strings.Join(slices.Sorted(maps.Keys(parts)), " "))
		os.Exit(2)
	}
	os.Args = os.Args[1:]
	os.Exit(run())
}
