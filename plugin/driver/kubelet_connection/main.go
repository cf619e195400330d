// Command kubelet-connection calls a DRA driver as the kubelet does, over a connection that becomes idle between the
// calls. It prepares a claim as often as -calls says, then unprepares it, and prints a line for each event.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"
	dra "k8s.io/kubelet/pkg/apis/dra/v1"
)

// How long the kubelet waits for a call (k8s.io/kubernetes/pkg/kubelet/cm/dra/plugin/dra_plugin.go).
const callTimeout = 45 * time.Second

// Longest time until an idle connection is closed, beyond the idle time.
const idleGrace = 10 * time.Second

var (
	endpoint  = flag.String("endpoint", "", "path of the driver's socket")
	namespace = flag.String("namespace", "", "namespace of the claim")
	name      = flag.String("name", "", "name of the claim")
	uid       = flag.String("uid", "", "uid of the claim")
	calls     = flag.Int("calls", 3, "number of calls to prepare the claim")
	idle      = flag.Duration("idle", 2*time.Second, "idle time after which the connection is closed; the kubelet's is 30 minutes")
	reconnect = flag.Bool("reconnect", true, "connect again at once, as the kubelet does since 1.34")
)

// monitor follows the connection as the kubelet's monitoredPlugin does.
type monitor struct {
	conn *grpc.ClientConn
	// Receives true when the connection begins, and false when it ends.
	changes chan bool
}

func (m *monitor) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (m *monitor) HandleRPC(context.Context, stats.RPCStats)                         {}
func (m *monitor) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (m *monitor) HandleConn(_ context.Context, change stats.ConnStats) {
	switch change.(type) {
	case *stats.ConnBegin:
		m.changes <- true
	case *stats.ConnEnd:
		m.changes <- false
		if *reconnect {
			go m.conn.Connect() // in this call gRPC would deadlock, as it did in the kubelet 1.34.0
		}
	}
}

func (m *monitor) await(connected bool, timeout time.Duration) error {
	select {
	case is := <-m.changes:
		if is != connected {
			return fmt.Errorf("the connection changed to connected=%t: expected %t", is, connected)
		}
		return nil
	case <-time.After(timeout):
		return fmt.Errorf("the connection did not change to connected=%t within %s: it is %s", connected, timeout, m.conn.GetState())
	}
}

// run connects with the kubelet's options (dra_plugin_manager.go, add) and the idle time.
func run() error {
	m := &monitor{changes: make(chan bool, 16)}
	conn, err := grpc.NewClient(
		"unix:"+*endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStatsHandler(m),
		grpc.WithIdleTimeout(*idle),
	)
	if err != nil {
		return err
	}
	defer conn.Close()
	m.conn = conn
	conn.Connect()
	if err := m.await(true, callTimeout); err != nil {
		return err
	}
	client := dra.NewDRAPluginClient(conn)
	claims := []*dra.Claim{{Namespace: *namespace, Name: *name, Uid: *uid}}
	for call := range *calls {
		if call > 0 {
			if err := awaitIdle(m); err != nil {
				return err
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		response, err := client.NodePrepareResources(ctx, &dra.NodePrepareResourcesRequest{Claims: claims})
		cancel()
		if err != nil {
			return fmt.Errorf("call %d: %w", call+1, err)
		}
		if result := response.Claims[*uid]; result == nil || result.Error != "" {
			return fmt.Errorf("call %d: %v", call+1, response)
		}
		fmt.Println("prepared")
		if call > 0 && !*reconnect {
			if err := m.await(true, callTimeout); err != nil { // the call connected
				return err
			}
		}
	}
	if err := awaitIdle(m); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	response, err := client.NodeUnprepareResources(ctx, &dra.NodeUnprepareResourcesRequest{Claims: claims})
	if err != nil {
		return err
	}
	if result := response.Claims[*uid]; result == nil || result.Error != "" {
		return fmt.Errorf("unprepare: %v", response)
	}
	fmt.Println("unprepared")
	return nil
}

// awaitIdle waits until gRPC has closed the idle connection, and has connected again if it is told to.
func awaitIdle(m *monitor) error {
	if err := m.await(false, *idle+idleGrace); err != nil {
		return err
	}
	fmt.Println("idle")
	if *reconnect {
		return m.await(true, callTimeout)
	}
	ctx, cancel := context.WithTimeout(context.Background(), idleGrace)
	defer cancel()
	for state := m.conn.GetState(); state != connectivity.Idle; state = m.conn.GetState() {
		if !m.conn.WaitForStateChange(ctx, state) {
			return fmt.Errorf("the channel is %s: expected %s", state, connectivity.Idle)
		}
	}
	return nil
}

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
