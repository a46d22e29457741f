// Reads a dashboard as Grafana's own Foundation SDK does, strictly: no field that Grafana does not know, none missing that it requires,
// no option of a panel or part of a query of another type. It prints what is wrong, or how many panels and queries it has read.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

func main() {
	plugins.RegisterDefaultPlugins()
	raw, err := os.ReadFile(os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	// (Where nothing is wrong it returns an empty list of faults, which is not nil, and keeps no panel: it is read once more for those.)
	fault := new(dashboard.Dashboard).UnmarshalJSONStrict(raw)
	if told, listed := fault.(cog.BuildErrors); fault != nil && (!listed || len(told) > 0) {
		fmt.Println(fault)
		os.Exit(1)
	}
	board := dashboard.Dashboard{}
	if err := json.Unmarshal(raw, &board); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if fault := board.Validate(); fault != nil {
		fmt.Println(fault)
		os.Exit(1)
	}
	panels, queries := 0, 0
	for _, one := range board.Panels {
		if one.Panel == nil {
			continue
		}
		panels++
		if _, unknown := one.Panel.Options.(map[string]any); unknown || one.Panel.Options == nil {
			fmt.Printf("panel %q is of a kind that Grafana does not have: %s\n", *one.Panel.Title, one.Panel.Type)
			os.Exit(1)
		}
		for _, query := range one.Panel.Targets {
			if _, known := query.(*prometheus.Dataquery); known {
				queries++
			} else if _, known := query.(prometheus.Dataquery); known {
				queries++
			}
		}
	}
	fmt.Println(panels, queries)
}
