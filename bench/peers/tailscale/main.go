// Command control is the coordinator that two tailscaled measure their tunnel under: Tailscale's own test server, with
// one relay beside it so that the clients have a region to call home.
package main

import (
	"flag"
	"log"
	"net"
	"net/http"
	"strconv"

	"tailscale.com/derp/derpserver"
	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address of the coordinator")
	flag.Parse()
	quiet := func(string, ...any) {}

	relay := derpserver.New(key.NewNode(), quiet)
	relayListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/derp", derpserver.Handler(relay))
	mux.HandleFunc("/derp/probe", derpserver.ProbeHandler)
	go func() { log.Fatal(http.Serve(relayListener, mux)) }()
	_, relayPort, _ := net.SplitHostPort(relayListener.Addr().String())
	port, _ := strconv.Atoi(relayPort)

	control := &testcontrol.Server{
		Logf: quiet,
		DERPMap: &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{1: {
			RegionID: 1, RegionCode: "here", RegionName: "here",
			Nodes: []*tailcfg.DERPNode{{
				Name: "1a", RegionID: 1, HostName: "127.0.0.1", IPv4: "127.0.0.1", IPv6: "none",
				DERPPort: port, STUNPort: -1, InsecureForTests: true,
			}},
		}}},
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on http://%s", listener.Addr())
	log.Fatal(http.Serve(listener, control))
}
