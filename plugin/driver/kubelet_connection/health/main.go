// Command health asks a DRA driver for the health of its devices with the kubelet's clients: first as that of Kubernetes 1.37 does, then as that of
// 1.36. It prints the first answer of each: a line for each device.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "k8s.io/kubelet/pkg/apis/dra-health/v1"
	healthv1alpha1 "k8s.io/kubelet/pkg/apis/dra-health/v1alpha1"
)

var endpoint = flag.String("endpoint", "", "path of the driver's socket")

// device is what the messages of both versions tell.
type device[Health fmt.Stringer] interface {
	GetHealth() Health
	GetMessage() string
}

func printDevices[Health fmt.Stringer, Device device[Health]](version string, devices []Device) {
	for _, device := range devices {
		fmt.Printf("%s %s: %s\n", version, device.GetHealth(), device.GetMessage())
	}
}

func run() error {
	conn, err := grpc.NewClient("unix:"+*endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	stream, err := healthv1.NewDRAResourceHealthClient(conn).NodeWatchResources(ctx, &healthv1.NodeWatchResourcesRequest{})
	if err != nil {
		return err
	}
	response, err := stream.Recv()
	if err != nil {
		return err
	}
	printDevices("v1", response.GetDevices())
	old, err := healthv1alpha1.NewDRAResourceHealthClient(conn).NodeWatchResources(ctx, &healthv1alpha1.NodeWatchResourcesRequest{})
	if err != nil {
		return err
	}
	oldResponse, err := old.Recv()
	if err != nil {
		return err
	}
	printDevices("v1alpha1", oldResponse.GetDevices())
	return nil
}

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
