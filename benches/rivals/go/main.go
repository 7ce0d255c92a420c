// The worker's core in Go, as an expert would tune it: two connections, pipelined confirms, acknowledgements in bulk,
// batches by lane, outcomes written by hand. What makes a service of it is left out in its favour: rate limits, retries,
// attribution of refusals, validation, reconnecting. It publishes through the default exchange, which costs an old
// broker less than a named one. Any answer but a success ends it. With ALL_PROPERTIES set its messages have all that the
// contract asks of an outcome, as the worker's have.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	mostFrom  = 100
	mostPairs = 1000
	linger    = 50 * time.Millisecond
	inFlight  = 16
	prefetch  = 5000
	ackEvery  = 256
	ackWithin = 20 * time.Millisecond
	timestamp = "2006-01-02T15:04:05.000Z"
)

type record struct {
	ID string `json:"id"`
}

type input struct {
	From record   `json:"from"`
	To   []record `json:"to"`
}

type job struct {
	JobID    string  `json:"jobId"`
	Portal   *int64  `json:"portalId"`
	From     string  `json:"fromObjectType"`
	To       string  `json:"toObjectType"`
	Inputs   []input `json:"inputs"`
	tag      uint64
	received time.Time
}

// batch is what leaves in one request: every `to` of one `from` stands in one input.
type batch struct {
	lane   string
	born   time.Time
	jobs   []*job
	inputs []input
	places map[string]int
	pairs  int
}

func (b *batch) add(j *job) {
	for _, in := range j.Inputs {
		at, known := b.places[in.From.ID]
		if !known {
			at = len(b.inputs)
			b.places[in.From.ID] = at
			b.inputs = append(b.inputs, input{From: in.From})
		}
		b.inputs[at].To = append(b.inputs[at].To, in.To...)
		b.pairs += len(in.To)
	}
	b.jobs = append(b.jobs, j)
}

func (b *batch) body() []byte {
	out := make([]byte, 0, 64+48*len(b.inputs)+24*b.pairs)
	out = append(out, `{"inputs":[`...)
	for i, in := range b.inputs {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"from":{"id":"`...)
		out = append(out, in.From.ID...)
		out = append(out, `"},"to":[`...)
		for k, to := range in.To {
			if k > 0 {
				out = append(out, ',')
			}
			out = append(out, `{"id":"`...)
			out = append(out, to.ID...)
			out = append(out, `"}`...)
		}
		out = append(out, `]}`...)
	}
	return append(out, `]}`...)
}

func outcome(j *job, started, completed string) []byte {
	pairs := 0
	for _, in := range j.Inputs {
		pairs += len(in.To)
	}
	out := make([]byte, 0, 512)
	field := func(name, value string) {
		out = append(out, `,"`...)
		out = append(out, name...)
		out = append(out, `":"`...)
		out = append(out, value...)
		out = append(out, '"')
	}
	out = append(out, `{"jobId":"`...)
	out = append(out, j.JobID...)
	out = append(out, `","portalId":`...)
	if j.Portal == nil {
		out = append(out, "null"...)
	} else {
		out = strconv.AppendInt(out, *j.Portal, 10)
	}
	field("fromObjectType", j.From)
	field("toObjectType", j.To)
	out = append(out, `,"action":"archive","dryRun":false,"group":null`...)
	field("status", "ARCHIVED")
	out = append(out, `,"numPairs":`...)
	out = strconv.AppendInt(out, int64(pairs), 10)
	out = append(out, `,"numArchived":`...)
	out = strconv.AppendInt(out, int64(pairs), 10)
	out = append(out, `,"numRestored":0,"numErrors":0,"verified":false,"journaled":false,"plan":null,"errors":[],"attempts":1`...)
	field("receivedAt", j.received.UTC().Format(timestamp))
	field("startedAt", started)
	field("completedAt", completed)
	return append(out, '}')
}

// outlet publishes on one channel and remembers, in that order, which delivery each message answers.
type outlet struct {
	channel       *amqp.Channel
	queue         string
	allProperties bool
	lock          sync.Mutex
	tags          []uint64
}

func (o *outlet) message(j *job, body []byte) amqp.Publishing {
	message := amqp.Publishing{
		ContentType: "application/json", DeliveryMode: amqp.Persistent,
		MessageId: j.JobID, CorrelationId: j.JobID, Body: body,
	}
	if o.allProperties {
		message.MessageId = identity()
		message.Type = "association-archive.outcome.v1"
		message.AppId = "association-archiver"
		message.Timestamp = time.Now()
		message.Headers = status
	}
	return message
}

var status = amqp.Table{"x-job-status": "ARCHIVED"}

// identity is as long as the identity of an outcome, a UUID.
func identity() string {
	high, low := rand.Uint64(), rand.Uint64()
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", high>>32, high>>16&0xffff, high&0xffff, low>>48, low&0xffff_ffff_ffff)
}

func (o *outlet) publish(jobs []*job, bodies [][]byte) {
	o.lock.Lock()
	defer o.lock.Unlock()
	for i, j := range jobs {
		o.tags = append(o.tags, j.tag)
		must(o.channel.PublishWithContext(context.Background(), "", o.queue, true, false, o.message(j, bodies[i])))
	}
}

// confirmed takes the oldest published message off the list. The library hands confirms over in order.
func (o *outlet) confirmed() uint64 {
	o.lock.Lock()
	defer o.lock.Unlock()
	tag := o.tags[0]
	o.tags = o.tags[1:]
	return tag
}

// settle acknowledges everything up to the lowest delivery that is still open, in one frame for many.
func settle(intake *amqp.Channel, out *outlet, confirms <-chan amqp.Confirmation, stop <-chan struct{}, done chan<- struct{}) {
	settled := map[uint64]struct{}{}
	lowest, acknowledged := uint64(0), uint64(0)
	acknowledge := func() {
		if lowest > acknowledged {
			must(intake.Ack(lowest, true))
			acknowledged = lowest
		}
	}
	tick := time.NewTicker(ackWithin)
	for {
		select {
		case confirm := <-confirms:
			if !confirm.Ack {
				must(fmt.Errorf("the broker refused an outcome"))
			}
			settled[out.confirmed()] = struct{}{}
			for {
				if _, next := settled[lowest+1]; !next {
					break
				}
				delete(settled, lowest+1)
				lowest++
			}
			if lowest-acknowledged >= ackEvery {
				acknowledge()
			}
		case <-tick.C:
			acknowledge()
		case <-stop:
			acknowledge()
			close(done)
			return
		}
	}
}

func archive(client *http.Client, b *batch, out *outlet) {
	started := time.Now().UTC().Format(timestamp)
	url := os.Getenv("HUBSPOT_BASE_URL") + "/crm/v4/associations/" + b.lane + "/batch/archive"
	request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(b.body()))
	must(err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+os.Getenv("HUBSPOT_ACCESS_TOKEN"))
	response, err := client.Do(request)
	must(err)
	_, err = io.Copy(io.Discard, response.Body)
	must(err)
	must(response.Body.Close())
	if response.StatusCode/100 != 2 {
		must(fmt.Errorf("status %d", response.StatusCode))
	}
	completed := time.Now().UTC().Format(timestamp)
	bodies := make([][]byte, len(b.jobs))
	for i, j := range b.jobs {
		bodies[i] = outcome(j, started, completed)
	}
	out.publish(b.jobs, bodies)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func channel() (*amqp.Connection, *amqp.Channel) {
	connection, err := amqp.Dial(os.Getenv("AMQP_URI"))
	must(err)
	channel, err := connection.Channel()
	must(err)
	return connection, channel
}

func main() {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	consuming, intake := channel()
	publishing, results := channel()
	must(results.Confirm(false))
	confirms := results.NotifyPublish(make(chan amqp.Confirmation, 100_000))
	out := &outlet{channel: results, queue: os.Getenv("RESULTS_QUEUE"), allProperties: os.Getenv("ALL_PROPERTIES") != ""}
	must(intake.Qos(prefetch, 0, false))
	deliveries, err := intake.Consume(os.Getenv("JOBS_QUEUE"), "rival", false, false, false, false, nil)
	must(err)
	stop, done := make(chan struct{}), make(chan struct{})
	go settle(intake, out, confirms, stop, done)

	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: inFlight, MaxConnsPerHost: inFlight}}
	slots := make(chan struct{}, inFlight)
	leave := func(b *batch) {
		slots <- struct{}{}
		go func() {
			archive(client, b, out)
			<-slots
		}()
	}
	lanes := map[string]*batch{}
	tick := time.NewTicker(linger / 5)
	for {
		select {
		case delivery := <-deliveries:
			j := &job{tag: delivery.DeliveryTag, received: time.Now()}
			must(json.Unmarshal(delivery.Body, j))
			lane := j.From + "/" + j.To
			b := lanes[lane]
			if b == nil {
				b = &batch{lane: lane, born: j.received, places: map[string]int{}}
				lanes[lane] = b
			}
			b.add(j)
			if len(b.inputs) >= mostFrom || b.pairs >= mostPairs {
				delete(lanes, lane)
				leave(b)
			}
		case now := <-tick.C:
			for lane, b := range lanes {
				if now.Sub(b.born) >= linger {
					delete(lanes, lane)
					leave(b)
				}
			}
		case <-terminated:
			must(intake.Cancel("rival", false))
			close(stop)
			<-done
			must(publishing.Close())
			must(consuming.Close())
			return
		}
	}
}
