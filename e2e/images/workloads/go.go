// Timers, goroutines that wait for them, a server with its clients, and a process of its own.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	requests := 4000
	if number, err := strconv.Atoi(os.Getenv("REQUESTS")); err == nil {
		requests = number
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	body := strings.Repeat("x", 1000)
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }))
	var ticks, good atomic.Int64
	ticker := time.NewTicker(time.Millisecond)
	go func() {
		for range ticker.C {
			ticks.Add(1)
		}
	}()
	var all sync.WaitGroup
	started := time.Now()
	for worker := 0; worker < 8; worker++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for n := 0; n < requests/8; n++ {
				answer, err := http.Get("http://" + listener.Addr().String())
				if err != nil {
					continue
				}
				text, _ := io.ReadAll(answer.Body)
				answer.Body.Close()
				if len(text) == 1000 {
					good.Add(1)
				}
			}
		}()
	}
	all.Wait()
	rate := float64(requests) / time.Since(started).Seconds()
	for n := 0; n < 200; n++ {
		select {
		case <-time.After(time.Millisecond):
		case <-time.After(time.Hour):
		}
	}
	command := exec.Command("tr", "a-z", "A-Z")
	command.Stdin = strings.NewReader("said")
	said, _ := command.Output()
	os.WriteFile("/tmp/go", []byte("text"), 0o600)
	text, _ := os.ReadFile("/tmp/go")
	os.Remove("/tmp/go")
	fmt.Printf("rate: %.1f\n", rate)
	fmt.Printf("outcome: %d of %d, ticks: %t, %s, %s\n", good.Load(), requests, ticks.Load() > 10, said, text)
}
